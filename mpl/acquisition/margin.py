"""The images whose two most probable classes are closest in probability."""

import numpy as np

from mpl.acquisition import scores
from mpl.acquisition.interface import Acquire


def make(noise: float = 0.0) -> Acquire:
    """The score is 1 - (p1 - p2). noise: see `scores.ranked`."""

    def score(log_p):
        log_p = scores.mean(log_p)
        return np.logaddexp(scores.others(log_p), np.sort(log_p, -1)[:, -2])

    return scores.highest(score, noise)
