"""The images whose passes disagree most: BALD (arXiv 1112.5745; with passes arXiv 1703.02910)."""

import numpy as np

from mpl.acquisition import scores
from mpl.acquisition.interface import Acquire, Needs

NEEDS = Needs(passes=2)


def make(noise: float = 0.0) -> Acquire:
    """The score is the entropy of the mean minus the mean entropy. noise: see `scores.ranked`.

    It is computed as the mean Kullback-Leibler divergence of the passes from their mean, which is
    the same and is not negative.
    """

    def score(log_p):
        terms = np.exp(log_p) * (log_p - scores.mean(log_p))
        information = np.maximum(terms.sum(-1).mean(0), 0)
        with np.errstate(divide='ignore'):
            return np.log(information)

    return scores.highest(score, noise, NEEDS.passes)
