"""The images whose probabilities vary most over random views (arXiv 1910.07153, eq. 3)."""

import numpy as np

from mpl.acquisition import scores
from mpl.acquisition.interface import Acquire, Needs

NEEDS = Needs(passes=2)


def make(noise: float = 0.0) -> Acquire:
    """The score is the variance over the passes, summed over classes. noise: see `scores.ranked`."""

    def score(log_p):
        with np.errstate(divide='ignore'):
            return np.log(np.var(np.exp(log_p), 0).sum(-1))

    return scores.highest(score, noise, NEEDS.passes)
