"""Numbers of the step, at steps where they are known."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.optimizers import schedules


def rates(*arguments, count):
    return np.array(jax.vmap(schedules.learning_rate(*arguments))(jnp.arange(count)))


def test_cosine_waits_warms_up_and_ends_at_zero():
    rate = rates(0.8, 'cosine', 19, 4, 3, count=30)
    np.testing.assert_array_equal(rate[:3], 0)
    np.testing.assert_allclose(rate[3:7], 0.8 * np.array([1, 2, 3, 4]) / 4, rtol=1e-6)
    fall = 0.4 * (1 + np.cos(np.pi * np.arange(12) / 12))
    np.testing.assert_allclose(rate[7:19], fall, rtol=1e-5)
    np.testing.assert_allclose(rate[13], 0.4, rtol=1e-6)  # half way down
    assert rate[18] > 0.01  # the last step of the run is no step at rate 0
    np.testing.assert_allclose(rate[19:], 0, atol=1e-7)  # and past the end it stays there


def test_linear_warms_up_and_falls_to_zero_in_equal_steps():
    rate = rates(0.8, 'linear', 14, 4, 0, count=20)
    np.testing.assert_allclose(rate[:4], 0.8 * np.array([1, 2, 3, 4]) / 4, rtol=1e-6)
    np.testing.assert_allclose(rate[4:14], 0.8 * np.arange(10, 0, -1) / 10, rtol=1e-5)
    np.testing.assert_allclose(rate[14:], 0, atol=1e-7)


def test_part_of_a_cosine_is_that_of_fixmatch():
    rate = rates(0.03, 'cosine_part', 16, 0, 0, count=17)
    np.testing.assert_allclose(rate, 0.03 * np.cos(7 * np.pi * np.arange(17) / 256), rtol=1e-5)
    np.testing.assert_allclose(rate[16], 0.03 * 0.19509, rtol=1e-4)


def test_exponential_waits_warms_up_and_falls_in_stairs():
    rate = rates(0.8, 'exponential', 20, 3, 2, 0.5, 4, count=30)
    np.testing.assert_allclose(rate[:5], 0.8 * np.array([0, 0, 1, 2, 3]) / 3, rtol=1e-6)
    # The stairs are counted from the end of the wait, through the warm-up and past the end.
    np.testing.assert_allclose(rate[5:], 0.8 * 0.5 ** (np.arange(3, 28) // 4), rtol=1e-6)


@pytest.mark.parametrize('decay_rate, decay_steps', [(1.0, 1), (0.0, 1), (0.97, 0)])
def test_an_exponential_that_does_not_fall_is_refused(decay_rate, decay_steps):
    with pytest.raises(ValueError, match=f'decay_rate {decay_rate} every {decay_steps} steps'):
        schedules.learning_rate(0.1, 'exponential', 10, 0, 0, decay_rate, decay_steps)


def test_constant_waits_and_warms_up():
    rate = rates(0.8, 'constant', 10, 2, 1, count=15)
    np.testing.assert_allclose(rate, [0, 0.4] + 13 * [0.8], rtol=1e-6)


def test_without_wait_or_warm_up_the_first_step_has_the_peak():
    np.testing.assert_allclose(rates(0.8, 'cosine', 5, 0, 0, count=1), [0.8], rtol=1e-6)
    np.testing.assert_allclose(rates(0.8, 'cosine', 5, 1, 0, count=1), [0.8], rtol=1e-6)


@pytest.mark.parametrize('warmup, wait', [(10, 0), (0, 10), (5, 5), (8, 8)])
def test_no_step_left_is_refused(warmup, wait):
    message = f'wait_steps {wait} .* warmup_steps {warmup} .* of the 10'
    with pytest.raises(ValueError, match=message):
        schedules.learning_rate(0.1, 'cosine', 10, warmup, wait)
    schedules.learning_rate(0.1, 'cosine', warmup + wait + 1, warmup, wait)


def test_unknown_shape_is_refused():
    with pytest.raises(
        ValueError,
        match="'triangle'.*'constant', 'cosine', 'linear', 'cosine_part' or 'exponential'",
    ):
        schedules.learning_rate(0.1, 'triangle', 10, 0, 0)


@pytest.mark.parametrize('step', [np.int32, jnp.int32, int])
def test_ramp(step):
    got = [schedules.ramp(step(i), 4) for i in (0, 1, 3, 4, 9)]
    np.testing.assert_array_equal(got, [0, 0.25, 0.75, 1, 1])
    assert {value.dtype for value in got} == {np.dtype('float32')}
    assert schedules.ramp(step(0), 0) == 1


def test_momentum_starts_at_its_base_and_ends_at_one(x64):
    """arXiv 2006.07733, section 3.2; a constant without steps."""
    wanted = [1 - 0.04 * (math.cos(math.pi * t / 1000) + 1) / 2 for t in (0, 1, 2, 500, 1000)]
    got = [schedules.momentum(jnp.array(t), 0.96, 1000) for t in (0, 1, 2, 500, 1000)]
    np.testing.assert_allclose(got, wanted, rtol=2e-7)
    assert wanted[0] == 0.96 and wanted[-1] == 1 and got[0] < got[2] < got[3]
    assert schedules.momentum(jnp.array(7), 0.96, 0) == 0.96
