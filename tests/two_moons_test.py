"""The two-moons benchmark and its configs."""

import chex
import jax
import numpy as np
import pytest

from benchmarks import two_moons as benchmark
from benchmarks import two_moons_fit as fit
from benchmarks import two_moons_search as search
from configs import two_moons
from mpl.run import config as configs


def short(method, steps, **numbers):
    config = two_moons.config(benchmark.METHODS[method], steps=steps, **numbers)
    return configs.complete(config.to_dict())


def test_a_seed_among_others_is_trained_as_it_is_alone():
    rate = 'networks.student.optimizer.learning_rate'
    config = short('uda', 40, activation='tanh', init=1.0)
    together = fit.run(config, range(3), {rate: np.array([0.1, 0.7], np.float32)})
    config = short('uda', 40, activation='tanh', init=1.0, rate=0.7)
    alone = fit.run(config, range(2, 3))
    accuracy, probability = together['student']
    assert accuracy[1, 2] == pytest.approx(alone['student'][0][0], abs=1e-3)
    np.testing.assert_allclose(probability[1, 2], alone['student'][1][0], atol=1e-4)
    assert np.abs(probability[1, 2] - probability[1, 1]).max() > 0.01  # another seed
    assert np.abs(probability[1, 2] - probability[0, 2]).max() > 0.01  # another rate


def test_labels_only_fits_the_six_labels():
    config = short('supervised', 1000, activation='tanh', init=1.0, rate=0.3)
    learner = fit.make_algorithm(config)
    moons = fit.draw(config, range(8))

    def on_labeled(seed, moons):
        state = fit.fit(config, learner, seed, moons)
        seen = fit.Moons(moons.image[moons.labeled], moons.label[moons.labeled], moons.labeled)
        return fit.measure(learner, state, seen)['student'][0]

    assert jax.jit(jax.vmap(on_labeled))(np.arange(8), moons).tolist() == [1.0] * 8


def test_seeds_draw_their_own_points_and_labels():
    moons = fit.draw(short('supervised', 1), range(3))
    chex.assert_shape([moons.image, moons.labeled], [(3, 2000, 1, 1, 2), (3, 6)])
    assert not np.array_equal(moons.image[0], moons.image[1])
    assert not np.array_equal(moons.labeled[0], moons.labeled[1])


@pytest.mark.parametrize('method', benchmark.METHODS)
def test_every_setting_is_a_config(method):
    expected = benchmark.METHODS[method]
    mpl = expected['name'] == 'mpl'
    for make in (benchmark.paper, benchmark.found, *([benchmark.added] if mpl else [])):
        algorithm = configs.complete(make(method).to_dict()).algorithm
        assert algorithm.name == expected['name']
        if mpl:
            assert algorithm.feedback == expected['feedback']
            assert (algorithm.feedback_weight < 0) == (method == 'mpl flipped')


def test_every_method_is_searched_by_the_same_numbers():
    tried = {method: search.settings(expected) for method, expected in benchmark.METHODS.items()}
    exact = tried['mpl exact']
    for method, numbers in tried.items():
        role = 'teacher' if method.startswith('mpl') else 'student'
        np.testing.assert_array_equal(
            numbers[search.RATE.format(role)], exact[search.RATE.format('teacher')]
        )
    weight = 'algorithm.feedback_weight'
    np.testing.assert_array_equal(tried['mpl flipped'][weight], -exact[weight])
    assert weight not in tried['mpl off']
