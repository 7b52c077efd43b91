"""The permutations of epochs: each number once, as random as a shuffle, at no cost in memory."""

import math
import time
import tracemalloc

import chex
import numpy as np
import pytest
from scipy import stats

from mpl.data import permutation, stream

LEAST = 1e-4  # p-value; the keys are fixed, so that a test either fails always or never


def whole(size, epochs, key=7):
    """The permutations of the first epochs, int64 [epochs, size]."""
    epoch, place = np.divmod(np.arange(epochs * size), size)
    return permutation.permute(key, epoch, place, size).reshape(epochs, size)


@pytest.mark.parametrize('size', [*range(1, 40), 97, 100, 257, 1000, 4096, 65_537])
def test_each_number_comes_once(size):
    for epoch in whole(size, 3):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(size))


@pytest.mark.parametrize('size', [300_000_000, (1 << 32) + 1, 1 << 40])
def test_places_of_large_permutations_are_computed_alone(size):
    places = np.arange(size - 50_000, size)
    found = permutation.permute(7, np.full(50_000, 5), places, size)
    assert len(np.unique(found)) == 50_000 and found.min() >= 0 and found.max() < size
    one = permutation.permute(7, np.array([5]), places[123:124], size)
    chex.assert_trees_all_equal(one, found[123:124])
    chex.assert_type(one, np.int64)
    assert stats.kstest(found / size, 'uniform').pvalue > LEAST


@pytest.mark.parametrize('size', [2, 3, 4, 5, 6])
def test_all_permutations_of_few_examples_are_equally_frequent(size):
    epochs = 60 * math.factorial(size)
    _, counts = np.unique(whole(size, epochs), axis=0, return_counts=True)
    assert len(counts) == math.factorial(size)
    assert stats.chisquare(counts).pvalue > LEAST


@pytest.mark.parametrize('size', [7, 9, 25])
def test_even_and_odd_permutations_are_equally_frequent(size):
    signs = np.linalg.det(np.eye(size)[whole(size, 2000)])
    assert stats.binomtest(int((signs > 0).sum()), 2000).pvalue > LEAST


@pytest.mark.parametrize('size', [7, 10, 100, 1797, 50_000])
def test_places_numbers_neighbors_and_epochs_are_independent(size):
    epochs = max(2, 100_000 // size)
    drawn = whole(size, epochs)
    place = np.broadcast_to(np.arange(size), drawn.shape)
    cells = min(size, 10)

    def check(first, second):
        table = np.zeros((cells, cells))
        np.add.at(table, (first.ravel() * cells // size, second.ravel() * cells // size), 1)
        assert stats.chi2_contingency(table).pvalue > LEAST

    check(place, drawn)
    check(drawn[:-1], drawn[1:])  # the same place in successive epochs
    check(np.argsort(drawn[:-1], 1), np.argsort(drawn[1:], 1))  # the places of a number
    # Differences of neighbors: d from -(size - 1) to size - 1 occurs in size - |d| of all pairs.
    steps = np.diff(drawn, axis=1).ravel()
    expected = (size - np.abs(np.arange(1 - size, size))).astype(float)
    expected[size - 1] = 0
    found = np.bincount(steps + size - 1, minlength=2 * size - 1)
    assert not found[size - 1]
    groups = np.arange(2 * size - 1) * cells // (2 * size - 1)
    found, expected = (np.bincount(groups, weights=x) for x in (found, expected))
    assert stats.chisquare(found, expected * found.sum() / expected.sum()).pvalue > LEAST


def test_fixed_points_of_successive_epochs_are_as_many_as_by_chance():
    drawn = whole(50, 4000)
    same = (drawn[:-1] == drawn[1:]).sum(1)  # of a random permutation, Poisson with mean 1
    counts = np.bincount(np.minimum(same, 5), minlength=6)
    chance = stats.poisson(1).pmf(np.arange(5))
    assert stats.chisquare(counts, len(same) * np.append(chance, 1 - chance.sum())).pvalue > LEAST


def test_order_is_the_same_with_every_numpy_and_on_every_platform():
    assert whole(10, 2).tolist() == [
        [7, 4, 9, 2, 6, 0, 5, 3, 8, 1],
        [1, 6, 8, 5, 2, 7, 0, 4, 9, 3],
    ]
    drawn = stream.sample(0, 'unlabeled', 70_000, 5, np.arange(1, 10_001))
    assert drawn.tolist() == [1591, 7439, 1240, 2449, 997]


def test_batch_of_a_large_pool_takes_milliseconds_and_little_memory():
    pool = np.broadcast_to(np.int64(3), 300_000_000)
    stream.sample(0, 'unlabeled', 0, 4096, pool)
    tracemalloc.start()
    start = time.process_time()
    for step in (1, 1_000_000, 73_242):  # The last one spans two epochs.
        stream.sample(0, 'unlabeled', step, 4096, pool)
    seconds = (time.process_time() - start) / 3
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 0.05 and peak < 8 << 20
