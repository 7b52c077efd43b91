"""Losses against closed forms and numbers worked out by hand."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.algorithms import losses


def logits_of(probability):
    """Logits whose softmax is `probability`, off by a constant that must not matter."""
    return jnp.log(jnp.array(probability)) + 3.0


def test_smooth():
    np.testing.assert_allclose(
        losses.smooth(jnp.array([0, 2]), 4, 0.2, jnp.float32),
        [[0.85, 0.05, 0.05, 0.05], [0.05, 0.05, 0.85, 0.05]],
        rtol=1e-6,
    )
    soft = jnp.array([[0.5, 0.5, 0.0, 0.0]])
    np.testing.assert_allclose(
        losses.smooth(soft, 4, 0.2, jnp.float32), [[0.45, 0.45, 0.05, 0.05]], rtol=1e-6
    )


@pytest.mark.parametrize('smoothing', [0.0, 0.3])
def test_cross_entropy_in_closed_form(smoothing, x64):
    p = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]])
    label = np.array([1, 2])
    mixed = -(1 - smoothing) * np.log([0.2, 0.5]) - smoothing * np.log(p).mean(1)
    got = losses.cross_entropy(logits_of(p), jnp.array(label), smoothing)
    np.testing.assert_allclose(got, mixed.mean(), rtol=1e-12)
    soft = losses.cross_entropy(logits_of(p), jnp.eye(3)[label], smoothing)
    np.testing.assert_allclose(soft, got, rtol=1e-12)


def test_cross_entropy_has_the_gradient_of_softmax(x64):
    p, label, smoothing = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]), np.array([1, 2]), 0.3
    got = jax.grad(losses.cross_entropy)(logits_of(p), jnp.array(label), smoothing)
    np.testing.assert_allclose(got, (p - 0.7 * np.eye(3)[label] - 0.1) / 2, rtol=0, atol=1e-15)


def test_cross_entropy_of_extreme_logits_is_finite():
    got = losses.cross_entropy(jnp.array([[1e4, -1e4]]), jnp.array([1]))
    np.testing.assert_allclose(got, 2e4)


# Temperature 1/2 squares and renormalizes: (.7, .2, .1) -> (49, 4, 1) / 54, whose greatest
# is .907; (.5, .3, .2) -> (25, 9, 4) / 38, whose greatest is .658.
WEAK = np.array([[0.7, 0.2, 0.1], [0.5, 0.3, 0.2]])
SHARP = np.array([[49, 4, 1], [25, 9, 4]]) / np.array([[54], [38]])
STRONG = np.array([[0.1, 0.6, 0.3], [0.3, 0.3, 0.4]])


@pytest.mark.parametrize(
    'threshold, sharpened, mask',
    [
        (0.0, False, [1, 1]),
        (0.0, True, [1, 1]),
        (0.65, False, [1, 0]),
        (0.65, True, [1, 1]),
        (0.66, True, [1, 0]),
        (0.72, False, [0, 0]),
        (0.72, True, [1, 0]),
        (0.91, True, [0, 0]),
    ],
)
def test_uda_at_values_worked_out_by_hand(threshold, sharpened, mask, x64):
    """Masked images count as zero, and count in the mean: the divisor is always 2."""
    loss, rate = losses.uda(logits_of(WEAK), logits_of(STRONG), 0.5, threshold, sharpened)
    per_image = -(SHARP * np.log(STRONG)).sum(1)  # the prediction is not sharpened
    np.testing.assert_allclose(loss, (per_image * mask).sum() / 2, rtol=1e-12)
    np.testing.assert_allclose(rate, sum(mask) / 2, rtol=1e-12)


def test_uda_holds_its_target_fixed(x64):
    weak, strong = jax.grad(lambda *views: losses.uda(*views, 0.5, 0.65, False)[0], (0, 1))(
        logits_of(WEAK), logits_of(STRONG)
    )
    np.testing.assert_array_equal(weak, 0)
    np.testing.assert_allclose(strong[0], (STRONG - SHARP)[0] / 2, rtol=0, atol=1e-15)
    np.testing.assert_array_equal(strong[1], 0)


def test_uda_counts_an_image_at_the_threshold_itself():
    _, rate = losses.uda(jnp.zeros((3, 2)), jnp.zeros((3, 2)), 1.0, 0.5, False)
    assert rate == 1


def test_annealing_leaves_out_what_is_above_the_probability(x64):
    """By the true class before smoothing, in the mean over the images that are left."""
    p, label = np.array([[0.7, 0.2, 0.1], [0.25, 0.25, 0.5]]), jnp.array([1, 2])
    got = losses.annealed_cross_entropy(logits_of(p), label, 0.3, 0.22)
    wanted = -0.7 * np.log(0.2) - 0.3 * np.log(p[0]).mean()
    np.testing.assert_allclose(got, wanted, rtol=1e-12)
    at = losses.annealed_cross_entropy(jnp.zeros((2, 4)), label, 0.0, 0.25)
    np.testing.assert_allclose(at, np.log(4), rtol=1e-12)


def test_accuracy():
    logits = jnp.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0], [5.0, 4.0]])
    got = losses.accuracy(logits, jnp.array([1, 1, 1, 0]))
    assert got == 0.75
    chex.assert_type(got, jnp.float32)
    label = jnp.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0], [0.0, 1.0]])
    np.testing.assert_allclose(losses.accuracy(logits, label), (0.75 + 0.5 + 0 + 0) / 4)
