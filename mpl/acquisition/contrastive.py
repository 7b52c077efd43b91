"""The images with the highest contrastive loss, whose views are hardest to match among all others.

One of the comparisons of MoBYv2AL (arXiv 2301.01531): the loss is that of contrastive training
(InfoNCE), by projections of two views of each image.
"""

import itertools

import jax
import numpy as np
from scipy.special import logsumexp

from mpl.acquisition import interface, scores
from mpl.acquisition.interface import Acquire, Needs

NEEDS = Needs(passes=2, projections=True)
ROWS = 1024  # images whose similarities to all negatives are in memory


def make(temperature: float = 0.2, negatives: int = 4096, noise: float = 0.0) -> Acquire:
    """The score is the mean of InfoNCE over all ordered pairs of passes, in nats.

    Args:
      temperature: of the similarities.
      negatives: number of images, drawn uniformly from the whole pool, whose projections by the
        other pass are the negatives; an image is no negative of its own.
      noise: see `scores.ranked`.

    Raises:
      ValueError: temperature or negatives are not positive, or the noise is negative.
    """
    if not temperature > 0 or negatives < 1:
        raise ValueError(
            f'temperature is {temperature} and negatives {negatives}; give numbers above 0.'
        )

    def prepare(logits, pool, key):
        drawn = jax.random.permutation(jax.random.fold_in(key, 1), np.flatnonzero(pool))
        others = np.sort(np.asarray(drawn)[:negatives])
        keys = [interface.read(one, others).astype(np.float64) for one in logits]

        def score(numbers):
            parts = [numbers[start : start + ROWS] for start in range(0, len(numbers), ROWS)]
            return np.concatenate([loss(part) for part in parts])

        def loss(numbers):
            queries = [np.asarray(one[numbers], np.float64) for one in logits]
            own = numbers[:, None] == others
            pairs = itertools.permutations(range(len(logits)), 2)
            found = [info_nce(queries[a], queries[b], keys[b], own, temperature) for a, b in pairs]
            return np.log(np.mean(found, 0))

        return score

    return scores.ranked(prepare, noise, NEEDS.passes)


def info_nce(
    query: np.ndarray, key: np.ndarray, keys: np.ndarray, own: np.ndarray, temperature: float
) -> np.ndarray:
    """The loss [n] of queries [n, D] with their keys [n, D] among keys [m, D], without the `own` [n, m]."""
    positive = np.sum(query * key, -1) / temperature
    negative = np.where(own, -np.inf, query @ keys.T / temperature)
    return np.logaddexp(0, logsumexp(negative, -1) - positive)
