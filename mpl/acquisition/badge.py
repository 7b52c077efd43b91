"""BADGE: k-means++ on the gradients of the last layer at the predicted class (arXiv 1906.03671)."""

import jax
import numpy as np

from mpl.acquisition import interface, scores
from mpl.acquisition.interface import Acquire


def make() -> Acquire:
    """The gradient is (p - onehot(argmax p)) h' for features h and mean probabilities p.

    Only p and h are kept, float32 [n, K + D], and squared distances are computed from their inner
    products (arXiv 2306.09910): |g|^2 = |p|^2 |h|^2 and g g' = (p p')(h h'). The first image has
    the longest gradient, as in the authors' code; the next ones are drawn in proportion to the
    squared distance from the nearest chosen one. Labeled images have no part in it.
    """

    def acquire(features, logits, labeled, candidates, budget, key):
        scores.check_passes(logits, 1)
        numbers = np.flatnonzero(candidates)
        h, p = interface.read(features, numbers), _errors(logits, numbers)
        length = _product(p, p) * _product(h, h)
        draws = np.asarray(jax.random.uniform(key, (budget,)), np.float64)
        chosen = [int(np.argmax(length))]
        distance, open_ = np.full(len(numbers), np.inf), np.ones(len(numbers), bool)
        for draw in draws[1:]:
            last = chosen[-1]
            open_[last] = False
            inner = _product(p, p[last]) * _product(h, h[last])
            distance = np.minimum(distance, np.maximum(length + length[last] - 2 * inner, 0))
            chosen.append(_draw(np.where(open_, distance, 0), open_, draw))
        return numbers[chosen]

    return acquire


def _errors(logits, numbers):
    """The mean probabilities minus 1 at the most probable class, float32 [n, K]."""
    found = np.empty((len(numbers), logits[0].shape[1]), np.float32)
    for place, chunk in interface.chunks(numbers):
        log_p = scores.mean(scores.log_probabilities(logits, chunk))
        p = np.exp(log_p)
        best = np.argmax(log_p, -1)[:, None]
        np.put_along_axis(p, best, -np.exp(scores.others(log_p))[:, None], -1)
        found[place] = p
    return found


def _product(a, b):
    """Inner products [n] of rows [n, D] and rows or one row, in float64, each on its own."""
    return np.einsum('nd,nd->n', a, np.broadcast_to(b, a.shape), dtype=np.float64)


def _draw(weight, open_, draw):
    """A place drawn in proportion to the weights; uniformly from the open ones if all are 0."""
    total = np.cumsum(weight if weight.any() else open_.astype(float))
    return int(np.searchsorted(total, draw * total[-1], 'right'))
