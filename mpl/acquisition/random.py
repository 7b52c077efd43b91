"""Uniformly at random without replacement: the rule to compare every other one with."""

import jax
import numpy as np

from mpl.acquisition.interface import Acquire


def make() -> Acquire:
    def acquire(features, logits, labeled, candidates, budget, key):
        order = np.asarray(jax.random.permutation(key, int(np.count_nonzero(candidates))))
        return np.flatnonzero(candidates)[order[:budget]]

    return acquire
