"""Pools in memory, digits and two moons."""

import chex
import numpy as np
import pytest
from sklearn import datasets

from mpl.data import digits, source, two_moons


def test_from_arrays_reads_by_number():
    image = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
    pool = source.from_arrays(image, np.array([0, 1, -1, 0, 1, -1]))
    np.testing.assert_array_equal(pool.read(np.array([4, 0, 4])), image[[4, 0, 4]])
    chex.assert_type(pool.label, np.int32)
    assert list(pool.name) == ['0', '1', '2', '3', '4', '5']


def test_taken_examples_are_a_pool_of_their_own():
    image = np.arange(24, dtype=np.uint8).reshape(6, 2, 2, 1)
    whole = source.from_arrays(image, np.array([0, 1, -1, 0, 1, -1]))
    whole = whole._replace(crop=lambda numbers, box, size: (numbers, box, size))
    pool = source.take(whole, np.array([5, 1, 3]))
    np.testing.assert_array_equal(pool.read(np.array([1, 0, 0])), image[[1, 5, 5]])
    assert pool.label.tolist() == [-1, 1, 0] and list(pool.name) == ['5', '1', '3']
    numbers, *rest = pool.crop(np.array([2, 0]), 'box', 7)
    assert numbers.tolist() == [3, 5] and rest == ['box', 7]
    assert source.take(whole._replace(crop=None), np.array([1])).crop is None


@pytest.mark.parametrize(
    'image, label, name',
    [((6, 2, 2), 6, None), ((6, 2, 2, 1), 5, None), ((6, 2, 2, 1), 6, ['a'])],
)
def test_from_arrays_refuses_what_does_not_fit(image, label, name):
    with pytest.raises(ValueError, match='A pool takes images'):
        source.from_arrays(np.zeros(image, np.uint8), np.zeros(label, int), name)


def test_digits_are_scikit_learns_and_each_lies_in_one_part():
    found, original = digits.make(), datasets.load_digits()
    parts = [found.train, found.test]
    numbers = np.concatenate([np.array(part.name, int) for part in parts])
    image = np.concatenate([part.read(np.arange(len(part.label))) for part in parts])
    chex.assert_type(image, np.uint8)
    chex.assert_shape(image, (1797, 8, 8, 1))
    assert image.max() == 255
    assert sorted(numbers) == list(range(1797))
    np.testing.assert_array_equal(np.rint(image[..., 0] / 255 * 16), original.images[numbers])
    np.testing.assert_array_equal(
        np.concatenate([part.label for part in parts]), original.target[numbers]
    )
    assert found.validation is None and found.image_shape == (8, 8, 1)


def test_digits_test_part_is_fixed_and_balanced():
    found = digits.make()
    np.testing.assert_array_equal(np.bincount(found.test.label), np.full(10, 60))
    first = [found.test.name[n] for n in np.flatnonzero(found.test.label == 0)[:5]]
    zeros = np.flatnonzero(datasets.load_digits().target == 0)
    assert len(zeros) == 178  # places 0, 2, 5, 8, 11 of 178: floor(i * 178 / 60)
    assert first == [str(zeros[place]) for place in (0, 2, 5, 8, 11)]


def test_moons_without_noise_lie_on_their_half_circles():
    found = two_moons.make(examples=200, noise=0.0)
    point = found.train.read(np.arange(200))
    chex.assert_type(point, np.float32)
    chex.assert_shape(point, (200, 1, 1, 2))
    x, y = point[:, 0, 0].T
    upper = found.train.label == 0
    assert upper.sum() == 100
    np.testing.assert_allclose(np.hypot(x[upper], y[upper]), 1, atol=1e-6)
    np.testing.assert_allclose(np.hypot(x[~upper] - 1, y[~upper] - 0.5), 1, atol=1e-6)
    assert y[upper].min() > -1e-6 and y[~upper].max() < 0.5 + 1e-6
    assert not (np.diff(found.train.label) >= 0).all()  # shuffled


def test_moons_noise_has_the_given_size_and_follows_the_seed():
    clean, noisy = (
        two_moons.make(examples=2000, noise=noise, seed=3).train for noise in (0.0, 0.2)
    )
    everything = np.arange(2000)
    np.testing.assert_array_equal(clean.label, noisy.label)
    assert abs((noisy.read(everything) - clean.read(everything)).std() - 0.2) < 0.01
    other = two_moons.make(examples=2000, noise=0.2, seed=4).train
    assert np.abs(other.read(everything) - noisy.read(everything)).max() > 0.5


def test_moons_test_points_are_others_and_do_not_move_the_training_points():
    few, many = two_moons.make(test_examples=10), two_moons.make(test_examples=2000)
    everything = np.arange(2000)
    np.testing.assert_array_equal(few.train.read(everything), many.train.read(everything))
    assert np.abs(many.train.read(everything) - many.test.read(everything)).max() > 0.5
    assert len(few.test.label) == 10


@pytest.mark.parametrize(
    'numbers, message',
    [
        ({'examples': 7}, 'examples is 7: give an even number'),
        ({'test_examples': 0}, 'test_examples is 0: give an even number'),
        ({'examples': 10**9}, 'examples is 1000000000: give an even number from 2 to'),
        ({'seed': -1}, 'seed is -1: give a number from 0 up'),
        ({'noise': -0.1}, 'noise is -0.1'),
    ],
)
def test_moons_refuse(numbers, message):
    with pytest.raises(ValueError, match=message):
        two_moons.make(**numbers)
