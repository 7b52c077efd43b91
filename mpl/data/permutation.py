"""Permutations of 0..size-1 that are computed place by place, without an array of their size.

A Feistel network with cycle walking (Black and Rogaway, Ciphers with Arbitrary Finite Domains, CT-RSA
2002, methods 2 and 3): a number is a pair (left, right), and every round adds a pseudo-random
function of one half and of the round's key to the other. The pairs are a few more than `size`; a
number from `size` up goes through the network again until it is below. Integer arithmetic alone, so
the result is the same on every platform and with every version of numpy.
"""

import numpy as np

ROUNDS = 20  # From 16 up all permutations of 2 to 7 examples are equally frequent (see the test).
_STEP = np.uint64(0x9E3779B97F4A7C15)  # of SplitMix64


def permute(key: int, epochs: np.ndarray, places: np.ndarray, size: int) -> np.ndarray:
    """What stands at some places of the permutations of some epochs, int64 [n].

    Args:
      key: 64 bits that select the family of permutations.
      epochs: int [n], ascending, from 0; every epoch has a permutation of its own.
      places: int [n], from 0 to size - 1.
      size: of the permutations, at most 2^62.
    """
    span = np.arange(epochs[0], epochs[-1] + 1, dtype=np.uint64)
    keys = _keys(key, span)[:, epochs - epochs[0]]
    lefts, rights = _sides(size)
    found = np.asarray(places, np.uint64)
    far = np.arange(len(found))
    while len(far):
        found[far] = _encrypt(found[far], keys[:, far], lefts, rights)
        far = far[found[far] >= size]
    return found.astype(np.int64)


def _sides(size):
    """Numbers of left and of right halves, about equal, whose product is at least `size`.

    The left one is even: otherwise every round is an even permutation, and so are most results.
    """
    left = np.ceil(np.sqrt(size) / 2).astype(np.uint64) * 2
    return left, np.uint64(-(-size // int(left)))


def _keys(key, epochs):
    """A key for each round and epoch, uint64 [ROUNDS, n]."""
    count = epochs * np.uint64(ROUNDS) + np.arange(1, ROUNDS + 1, dtype=np.uint64)[:, None]
    return _mix(np.array(key, np.uint64) + count * _STEP)


def _encrypt(numbers, keys, lefts, rights):
    left, right = np.divmod(numbers, rights)
    for even, odd in zip(keys[::2], keys[1::2]):
        left = (left + _mix(even + right) % lefts) % lefts
        right = (right + _mix(odd + left) % rights) % rights
    return left * rights + right


def _mix(bits):
    """The output function of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), of uint64 [...]."""
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits ^ (bits >> np.uint64(31))
