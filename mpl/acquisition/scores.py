"""Rules that take the images with the highest scores, one image at a time, and their log scores.

Scores are not negative, and their logarithms are computed without cancellation or underflow, so
that images are still in order where probabilities are 0 or 1 in floating point. All rows are scored
on their own in float64, so that the result does not depend on how many are read at a time.
"""

from collections.abc import Callable, Sequence

import jax
import numpy as np
from scipy.special import log1p, logsumexp

from mpl.acquisition import interface
from mpl.acquisition.interface import Acquire

SMALL = -30.0  # log x below which log(-log(1 - x)) is log x in float64


def highest(score: Callable[[np.ndarray], np.ndarray], noise: float, passes: int = 1) -> Acquire:
    """The rule that takes the highest scores, ties to the smaller number.

    score: log-probabilities float64 [S, n, K] -> log scores [n]. noise, passes: see `ranked`.
    """

    def prepare(logits, pool, key):
        return lambda numbers: score(log_probabilities(logits, numbers))

    return ranked(prepare, noise, passes)


def ranked(prepare: Callable, noise: float, passes: int) -> Acquire:
    """The rule that takes the highest scores, ties to the smaller number.

    Args:
      prepare: (logits, pool bool [N] of labeled images and candidates, key) -> a function of numbers
        [n] that returns their log scores [n].
      noise: standard Gumbel noise times this is added to the log scores, which samples images
        in proportion to score^(1/noise), without replacement (stochastic batch acquisition,
        arXiv 2106.12059, section 3): batches with fewer near-copies. 0 for none.
      passes: the smallest S that the score needs.

    Raises:
      ValueError: the noise is negative.
    """
    if not noise >= 0:
        raise ValueError(f'noise is {noise}; give 0 or more, such as 1 for score^1.')

    def acquire(features, logits, labeled, candidates, budget, key):
        check_passes(logits, passes)
        score = prepare(logits, labeled | candidates, key)
        numbers = np.flatnonzero(candidates)
        scores = np.empty(len(numbers))
        for place, chunk in interface.chunks(numbers):
            scores[place] = score(chunk)
        if noise:  # By number, so that it does not depend on the other candidates.
            gumbel = np.asarray(jax.random.gumbel(key, (len(candidates),)), np.float64)
            scores = scores + noise * gumbel[numbers]
        return numbers[np.argsort(-scores, kind='stable')[:budget]]

    return acquire


def check_passes(logits: Sequence[np.ndarray], passes: int) -> None:
    """Raises ValueError for fewer passes over the pool than a rule needs."""
    if len(logits) < passes:
        raise ValueError(
            f'The rule compares {passes} or more passes of a network over the pool, but there is one; '
            'raise active.passes.'
            if len(logits)
            else 'The rule needs the logits of a trained network, and there is none yet; start from '
            "images drawn at random (active.start_from='random')."
        )


def log_probabilities(logits: Sequence[np.ndarray], numbers: np.ndarray) -> np.ndarray:
    """Log-softmax of these rows of S arrays of logits, float64 [S, n, K]."""
    found = np.stack([np.asarray(one[numbers], np.float64) for one in logits])
    return found - logsumexp(found, -1, keepdims=True)


def mean(log_p: np.ndarray) -> np.ndarray:
    """The log of the mean over S of probabilities given as logs [S, ..., K]."""
    return logsumexp(log_p, 0) - np.log(len(log_p))


def others(log_p: np.ndarray) -> np.ndarray:
    """log(1 - p1) of log-probabilities [n, K], where p1 is the largest: from those of the others."""
    return logsumexp(np.sort(log_p, -1)[:, :-1], -1)


def log_entropy(log_p: np.ndarray) -> np.ndarray:
    """The log of the entropy (nats) of log-probabilities [n, K]."""
    ordered = np.sort(log_p, -1)
    rest = others(log_p)
    with np.errstate(divide='ignore'):
        surprise = np.log(-ordered[:, :-1])
        top = np.where(rest < SMALL, rest, np.log(-log1p(-np.exp(np.minimum(rest, -1e-16)))))
    terms = [ordered[:, :-1] + surprise, (ordered[:, -1] + top)[:, None]]
    return logsumexp(np.concatenate(terms, -1), -1)
