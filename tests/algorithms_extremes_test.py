"""Every rule with the smallest batches, and with its hyperparameters at the ends of their ranges."""

import algorithms_test as contract
import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from algorithms_test import ALL, GAPS, MAKES, force, teach

from mpl.algorithms import feedback, freematch, softmatch, vat

pytestmark = pytest.mark.usefixtures('fast_compile')

# Unlabeled images: one has neither a variance nor another image to be told from.
SMALLEST = {
    name: 2 if {*contract.HEADS} & {*contract.roles(name)} or name == 'softmatch' else 1
    for name in MAKES
}

# The ends of hyperparameters, by the last words of their names.
ENDS = {
    'weight': (0.0, 1.0),
    'threshold': (0.0, 1.0),
    'temperature': (1e-4, 1e4),
    'rate': (0.0, 1.0),
    'queue': (6, 12),
    'keys': ('averaged', 'batch'),
    'targets': ('averaged', 'batch'),
    'scale': (0.0, 1.0),
    'decay': (0.0, 1.0),
    'smoothing': (0.0, 0.99),
    'steps': (0, 2**31 - 1),
    'radius': (0.0, 1e4),
    'iterations': (0, 2),
    'deviations': (0.0, 1e30),
    'annealing': ('exp', 'log'),
    'align': (True, True),
    'two_sided': (False, True),
    'student_statistics': ('unlabeled', 'joint'),
    'feedback_statistics': ('labeled', 'student'),
    'target_pass': ('separate', 'joined'),
    'mask_sharpened': (True, True),
    'feedback': ('exact', 'exact'),
    'labels': ('soft', 'soft'),
    'label_view': ('weak', 'strong'),
}
# A target network that is the network, or never changes.
REFUSED = {
    ('temporal_ensembling', 'memory_decay'): (1.0,),
    ('mean_teacher', 'ema_decay'): (0.0,),
} | {(name, 'ema_decay'): (0.0, 1.0) for name in contract.AVERAGED if name != 'mean_teacher'}
NEAR = (1e-3, 0.999)  # where both ends are refused


def end_of(name, knob, end):
    """The value at one end, 0 or 1; the other end's where the rule refuses that one, or one near by."""
    (values,) = [ENDS[word] for word in ENDS if ('_' + knob).endswith('_' + word)]
    refused = REFUSED[name, knob] if (name, knob) in REFUSED else ()
    allowed = [value for value in values if value not in refused] or NEAR
    return allowed[min(end, len(allowed) - 1)]


def small_batch(labeled, unlabeled):
    sizes = {'labeled': labeled, 'unlabeled': unlabeled}
    batch = contract.make_batch()
    return {part: {k: v[:size] for k, v in batch[part].items()} for part, size in sizes.items()}


def check(name, numbers, batch, **model):
    """Two steps from logits of every gap leave the state and the metrics finite."""
    update = jax.jit(contract.build(name, numbers, **model).update)
    start = contract.start(name, numbers['ema_decay'], numbers, **model)
    for gap in GAPS:
        for alike in (True, False):
            state = force(name, start, gap, alike)
            for step in (0, 1):
                state, metrics = update(state, teach(batch, gap), step, jax.random.key(step))
                chex.assert_tree_all_finite((state, metrics))


@pytest.mark.parametrize('name, numbers', ALL, ids=str)
def test_smallest_batches_leave_everything_finite(name, numbers):
    check(name, numbers | {'ema_decay': 0.9}, small_batch(1, SMALLEST[name]), norm=True)


@pytest.mark.parametrize('end, model', [(0, {'dtype': 'bfloat16', 'norm': True}), (1, {})])
@pytest.mark.parametrize('name', MAKES)
def test_hyperparameters_at_their_ends_leave_everything_finite(name, end, model):
    numbers = {knob: end_of(name, knob, end) for knob in contract.knobs(name)}
    check(name, numbers, small_batch(1, 2), **model)


@pytest.mark.parametrize(
    'name, knob, value', [(*key, value) for key, values in REFUSED.items() for value in values]
)
def test_a_memory_that_never_changes_is_refused(name, knob, value):
    with pytest.raises(ValueError, match=rf'{knob} is {value:g}.*give'):
        contract.build(name, {knob: value})


@pytest.mark.parametrize('temperature', [1e-5, 1e5])
@pytest.mark.parametrize(
    'name', [name for name in MAKES if name in ('distill', 'mpl', 'noisy_student', 'uda')]
)
def test_temperatures_beyond_float32_are_refused(name, temperature):
    knob = 'uda_temperature' if name == 'mpl' else 'temperature'
    with pytest.raises(ValueError, match=f'algorithm.{knob} is {temperature}; give'):
        contract.build(name, {knob: temperature})


@pytest.mark.parametrize('weight', [-0.1, 1.1])
def test_distill_refuses_a_negative_weight_of_the_labels(weight):
    with pytest.raises(
        ValueError, match=f'algorithm.weight is {weight}; give a number from 0 to 1'
    ):
        contract.build('distill', {'weight': weight})


def test_softmatch_refuses_a_single_unlabeled_image():
    """One confidence has no variance; the released code becomes NaN."""
    learner = contract.build('softmatch', {})
    with pytest.raises(ValueError, match='batch.unlabeled is 1; give 2 or more'):
        jax.eval_shape(
            learner.update, contract.start('softmatch'), small_batch(4, 1), 0, jax.random.key(0)
        )


def test_alignment_is_that_of_the_released_code():
    """p * (1 / K + 1e-6) / (average + 1e-6), normalized; by hand, with a class of no probability."""
    p = np.array([[0.9, 0.1, 0.0], [0.2, 0.8, 0.0]], np.float32)
    average = np.array([0.75, 0.25, 0.0])
    expected = p * (1 / 3 + 1e-6) / (average + 1e-6)
    expected /= expected.sum(-1, keepdims=True)
    for part in (1.0, 0.01):  # of the average, which starts at 0
        got = softmatch.align_uniformly(jnp.array(p), jnp.array(part * average, jnp.float32))
        np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(softmatch.align_uniformly(jnp.array(p), jnp.zeros(3)), p, rtol=1e-6)


def test_worst_direction_has_length_one_however_sure_the_network_is():
    """Probabilities of 1 - 1e-26 have a Hessian of about 1e-26, whose squares are no float32."""
    w = jnp.array(np.random.default_rng(0).normal(size=(4, 3)), jnp.float32)
    image = jnp.array(np.random.default_rng(1).normal(size=(6, 2, 2, 1)), jnp.float32)
    gap = jnp.array([60.0, 0.0, 0.0])
    direction = vat.adversarial_direction(
        lambda x: x.reshape(len(x), -1) @ w + gap, image, jax.random.key(0), 1
    )
    np.testing.assert_allclose(jnp.sum(direction**2, (1, 2, 3)), 1, rtol=1e-5)
    assert not vat._normalize(jnp.zeros((2, 2, 2, 1))).any()


@pytest.mark.parametrize('size', [1.0, 1e-25])
def test_cosine_of_small_gradients(size):
    one, other = (
        {'a': jnp.array([3.0, 0.0]), 'b': jnp.array(4.0)},
        {'a': jnp.ones(2), 'b': jnp.ones(())},
    )
    one = jax.tree.map(lambda x: size * x, one)
    got = feedback.cosine(one, jax.tree.map(lambda x: size * x, other))
    np.testing.assert_allclose(got, 7 / (5 * 3**0.5), rtol=1e-6)
    assert feedback.cosine(one, optax.tree.zeros_like(other)) == 0


def test_fairness_of_classes_that_are_no_longer_predicted():
    """After 87,000 steps the share of such a class in the average is at the end of float32."""
    share = jnp.array([1.0] + 9 * [1.2e-38])
    balanced = freematch._balance(jnp.full(10, 0.1), share)
    np.testing.assert_allclose(balanced, jnp.eye(10)[0])
