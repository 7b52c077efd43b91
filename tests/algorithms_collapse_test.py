"""How the rules fail, as their papers and users tell: each failure, made to happen, and what prevents it."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from mpl.algorithms import (
    fixmatch,
    mean_teacher,
    noisy_student,
    pi_model,
    pseudo_label,
    softmatch,
    supervised,
    temporal_ensembling,
    uda,
    vat,
)
from mpl.algorithms.interface import Sizes
from mpl.models.network import Definition

pytestmark = pytest.mark.usefixtures('fast_compile', 'x64')

CLASSES = 3
SIZES = Sizes(examples=6, unlabeled=6, classes=CLASSES)


class Linear(nn.Module):
    """Logits are the four numbers of an image times a matrix: a black image has equal ones, always."""

    @nn.compact
    def __call__(self, image, train):
        x = image.reshape(len(image), -1)
        return x, nn.Dense(CLASSES, use_bias=False, param_dtype=jnp.float64)(x)


DEFINITION = Definition(Linear(), optax.sgd(0.5))
RANDOM = np.random.default_rng(0)
WEAK = RANDOM.normal(size=(6, 2, 2, 1))
UNLABELED = {
    'weak': WEAK,
    'strong': WEAK + 0.5 * RANDOM.normal(size=WEAK.shape),
    'index': np.arange(6),
}
LABEL = np.array([0, 1, 2])
BLACK = {'image': np.zeros((3, 2, 2, 1)), 'label': LABEL}  # No label moves a weight.
LABELED = {'image': RANDOM.normal(size=(3, 2, 2, 1)), 'label': LABEL}


def with_weights(state, w):
    """The state with other weights, and so of their average."""
    net = getattr(state, 'net', state)
    params = {'Dense_0': {'kernel': w}}
    ema = net.ema and dataclasses.replace(net.ema, params=params)
    net = dataclasses.replace(net, params=params, ema=ema)
    return state._replace(net=net) if hasattr(state, 'net') else net


def weights(state):
    return getattr(state, 'net', state).params['Dense_0']['kernel']


def train(learner, labeled, count, w, unlabeled=UNLABELED):
    """The weights after `count` steps on one batch from `w`, and the last metrics."""
    batch = {'labeled': labeled, 'unlabeled': unlabeled}
    state = with_weights(learner.init(jax.random.key(0), batch, SIZES), w)
    update = jax.jit(learner.update)
    for step in range(count):
        state, metrics = update(state, batch, step, jax.random.key(step))
    return weights(state), metrics


def predict(w, image):
    return np.array(jax.nn.softmax(image.reshape(len(image), -1) @ w))


CONSISTENCY = {
    'pi_model': pi_model.make(DEFINITION, weight=3.0),
    'mean_teacher': mean_teacher.make(DEFINITION, weight=3.0, ema_decay=0.5),
    'temporal_ensembling': temporal_ensembling.make(DEFINITION, weight=3.0, memory_decay=0.5),
    'vat': vat.make(DEFINITION, weight=1.0, radius=1.0),
}


@pytest.mark.parametrize('name', CONSISTENCY)
def test_consistency_is_content_with_one_answer_for_all(name):
    """The trivial solution: without labels nothing leads away from it, with labels they do."""
    flat = jnp.zeros((4, CLASSES))
    after, metrics = train(CONSISTENCY[name], BLACK, 5, flat)
    np.testing.assert_allclose(after, flat, atol=1e-12)
    assert metrics['loss/unlabeled'] < 1e-12
    w = jnp.asarray(np.random.default_rng(0).normal(size=flat.shape))
    assert train(CONSISTENCY[name], LABELED, 2, w)[1]['loss/unlabeled'] > 1e-6
    after, _ = train(CONSISTENCY[name], LABELED, 5, flat)
    assert np.ptp(predict(after, WEAK), 0).max() > 0.1


@pytest.mark.parametrize('name', ['pi_model', 'mean_teacher', 'vat'])
def test_consistency_alone_ends_there(name):
    """Where views have nothing in common; by VAT wherever images lie within its radius of each other.

    (Temporal ensembling sees one view here, of which any answer is consistent.)
    """
    w = jnp.asarray(np.random.default_rng(1).normal(size=(4, CLASSES)))
    turned = UNLABELED | {'strong': -WEAK}
    after, _ = train(CONSISTENCY[name], BLACK, 1500, w, turned)
    spread = [np.ptp(predict(there, WEAK), 0).max() for there in (w, after)]
    assert spread[0] > 0.5 and spread[1] < 0.1 * spread[0]


def test_pseudo_labels_confirm_whatever_was_guessed_first():
    """No label says so, yet every first guess ends as a certainty (arXiv 1908.02983: confirmation)."""
    w = 0.1 * jnp.asarray(np.random.default_rng(2).normal(size=(4, CLASSES)))
    after, _ = train(pseudo_label.make(DEFINITION, threshold=0.0), BLACK, 3000, w)
    first, last = predict(w, WEAK), predict(after, WEAK)
    assert first.max(-1).max() < 0.6 and last.max(-1).min() > 0.95
    np.testing.assert_array_equal(first.argmax(-1), last.argmax(-1))
    # A threshold keeps unsure guesses out, and these stay what they are.
    kept, metrics = train(pseudo_label.make(DEFINITION, threshold=0.95), BLACK, 50, w)
    np.testing.assert_array_equal(kept, w)
    assert metrics['mask_rate'] == 0


@pytest.mark.parametrize('make', [pseudo_label.make, fixmatch.make, uda.make])
def test_where_nothing_passes_it_is_labels_only(make):
    """The mask of FixMatch gone to 0 (its issue 79): silent, but for the metric."""
    w = jnp.asarray(np.random.default_rng(3).normal(size=(4, CLASSES)))
    after, metrics = train(make(DEFINITION, threshold=1.0), LABELED, 5, w)
    assert metrics['mask_rate'] == 0 and metrics['loss/unlabeled'] == 0
    alone, _ = train(supervised.make(DEFINITION), LABELED, 5, w)
    np.testing.assert_allclose(after, alone, atol=1e-12)
    passed, _ = train(make(DEFINITION, threshold=0.0), LABELED, 5, w)
    assert np.abs(passed - alone).max() > 1e-2


def test_alignment_counts_a_class_that_is_seldom_predicted():
    """SoftMatch: of four sure images of a class and two less sure ones of another, these are heard."""
    w = jnp.zeros((4, CLASSES)).at[0, 0].set(3.0).at[1, 1].set(2.5)
    image = np.eye(4)[[0, 0, 0, 0, 1, 1]].reshape(6, 2, 2, 1)
    batch = UNLABELED | {'weak': image, 'strong': image}
    moved = {}
    for align in (True, False):
        learner = softmatch.make(DEFINITION, align=align, memory_decay=0.0)
        after, _ = train(learner, BLACK, 1, w, batch)
        moved[align] = np.abs(after - w).max(1)  # By pixel, and so by kind of image.
    assert moved[True][1] > 1.2 * moved[False][1] > 0 and moved[True][0] < moved[False][0]


def test_without_noise_a_student_that_is_its_teacher_stays_it():
    """Noisy Student of equal size that sees what its teacher saw: no new lesson is in its labels."""
    w = jnp.asarray(np.random.default_rng(4).normal(size=(4, CLASSES)))
    said = WEAK.reshape(6, -1) @ w
    seen = {'plain': UNLABELED | {'strong': WEAK, 'logits': said}}
    seen['noisy'] = UNLABELED | {'logits': said}
    moved = {
        noise: np.abs(train(noisy_student.make(DEFINITION), BLACK, 20, w, batch)[0] - w).max()
        for noise, batch in seen.items()
    }
    assert moved['plain'] < 1e-12 and moved['noisy'] > 1e-2
