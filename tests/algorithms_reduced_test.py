"""Reduced Meta Pseudo Labels: its teacher's gradient against the mathematics, and its memory."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpl.algorithms import losses, mpl, reduced_mpl
from mpl.algorithms.interface import Sizes
from mpl.models import mlp
from mpl.models.network import Definition
from mpl.optimizers import sgd

SIZES = Sizes(0, 0, 0)  # of no matter to rules that remember nothing
CLASSES, RATE, SMOOTHING, WEIGHT = 3, 0.25, 0.1, 0.7  # the rate: the same number in float32


def make_batch():
    draw = np.random.default_rng(0)
    image, weak, strong = (jnp.array(draw.normal(size=(n, 2, 1, 1))) for n in (6, 4, 4))
    said = [jnp.array(2 * draw.normal(size=(n, CLASSES))) for n in (6, 4)]
    label = jnp.array(draw.integers(0, CLASSES, 6), jnp.int32)
    return {
        'labeled': {'image': image, 'label': label, 'logits': said[0]},
        'unlabeled': {'weak': weak, 'strong': strong, 'logits': said[1]},
    }


def test_teacher_descends_what_the_student_will_lose_on_the_labels(x64):
    """By autodiff through the two networks and the student's step, written a second time."""
    batch = make_batch()
    small = Definition(mlp.make(CLASSES, (4,), 'tanh'), optax.sgd(1.0))
    student = Definition(mlp.make(CLASSES, (5,), 'tanh'), sgd.make(9, RATE, 'constant', momentum=0))
    learner = reduced_mpl.make(
        small, student, label_smoothing=SMOOTHING, teacher_labeled_weight=WEIGHT
    )
    state = learner.init(jax.random.key(3), batch, SIZES)
    state = jax.tree.map(lambda x: x.astype(float) if x.dtype == jnp.float32 else x, state)
    state = state.replace(baseline=state.baseline.astype(jnp.float32))

    def correct(params, logits):
        log_p = jax.nn.log_softmax(logits)
        return log_p + small.model.apply({'params': params}, log_p, train=True)[1]

    def learn(params, image):
        return student.model.apply({'params': params}, image, train=True)[1]

    def total(params):
        target = jax.nn.softmax(correct(params, batch['unlabeled']['logits']))

        def student_loss(weights):
            logits = learn(weights, batch['unlabeled']['strong'])
            return losses.cross_entropy(logits, target, SMOOTHING)

        gradient = jax.grad(student_loss)(state.student.params)
        after = jax.tree.map(lambda w, g: w - RATE * g, state.student.params, gradient)
        label = batch['labeled']['label']
        supervised = losses.cross_entropy(
            correct(params, batch['labeled']['logits']), label, SMOOTHING
        )
        judged = losses.cross_entropy(learn(after, batch['labeled']['image']), label)
        return WEIGHT * supervised + judged

    new, _ = jax.jit(learner.update)(state, batch, 2, jax.random.key(0))
    got = jax.tree.map(jnp.subtract, state.teacher.params, new.teacher.params)
    expected = jax.jit(jax.grad(total))(state.teacher.params)
    chex.assert_trees_all_close(got, expected, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize('feedback, labels', [('exact', 'soft'), ('per_example', 'sampled')])
def test_it_needs_little_more_memory_than_its_student(feedback, labels):
    """Of the compiled steps of perceptrons so wide that weights are what counts."""
    large = Definition(mlp.make(CLASSES, (512, 512)), sgd.make(9, RATE))
    small = Definition(mlp.make(CLASSES, (16,)), sgd.make(9, RATE))
    batch = jax.tree.map(lambda x: jnp.tile(x, (1, 256, 1, 1)) if x.ndim == 4 else x, make_batch())

    def memory(learner):
        state = jax.eval_shape(
            functools.partial(learner.init, sizes=SIZES), jax.random.key(0), batch
        )
        step = jax.jit(learner.update, donate_argnums=0)
        analysis = step.lower(state, batch, 0, jax.random.key(0)).compile().memory_analysis()
        return analysis.argument_size_in_bytes, analysis.temp_size_in_bytes

    how = {'feedback': feedback, 'labels': labels}
    full, reduced = (
        memory(mpl.make(large, large, **how)),
        memory(reduced_mpl.make(small, large, **how)),
    )
    assert reduced[0] < 0.52 * full[0]  # weights, optimizer, batch
    assert sum(reduced) < 0.7 * sum(full)
