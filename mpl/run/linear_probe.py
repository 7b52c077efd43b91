"""Multinomial logistic regression on stored features, the linear probe."""

import warnings
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

STEPS = 1000  # maximum number of iterations of L-BFGS
# Of the largest entry of the gradient of the mean loss; and of it as a share of the decay, for small decays.
TOLERANCE, SHARE = 1e-5, 0.01


class Standardized(NamedTuple):
    """Mean and standard deviation of each feature over the labeled images, [D]."""

    mean: np.ndarray
    std: np.ndarray

    def apply(self, features: np.ndarray) -> np.ndarray:
        return (features.astype(np.float64) - self.mean) / self.std


class Fit(NamedTuple):
    """A linear classifier of standardized features."""

    decay: float
    kernel: np.ndarray  # [D, K]
    bias: np.ndarray  # [K]
    converged: bool


def standardize(features: np.ndarray) -> Standardized:
    """Statistics of features [N, D]; a constant feature keeps its scale."""
    features = features.astype(np.float64)
    std = features.std(0)
    return Standardized(features.mean(0), np.where(std > 0, std, 1.0))


def fit(
    features: np.ndarray, label: np.ndarray, classes: int, decays: tuple[float, ...]
) -> Iterator[Fit]:
    """The minimum of mean cross-entropy + decay / 2 * |kernel|^2, for each decay from the largest on.

    By L-BFGS in float64, each from the minimum before; no random numbers.

    Args:
      features: standardized, float64 [N, D].
      label: int [N], of at least two classes.
      classes: K; those without a label have logit -inf.
      decays: above 0.
    """
    present = np.unique(label)
    # For two classes scikit-learn has one weight, the difference of both, which are its halves.
    halved = len(present) == 2
    model = LogisticRegression(solver='lbfgs', max_iter=STEPS, warm_start=True)
    for decay in sorted(decays, reverse=True):
        tolerance = min(TOLERANCE, SHARE * decay)
        model.set_params(C=(2 if halved else 1) / (decay * len(label)), tol=tolerance)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', ConvergenceWarning)  # It is in the result.
            model.fit(features, label)
        kernel = np.zeros((features.shape[1], classes))
        bias = np.full(classes, -np.inf)
        weights = np.concatenate([model.coef_, model.intercept_[:, None]], -1)
        weights = np.concatenate([-weights / 2, weights / 2]) if halved else weights
        kernel[:, present], bias[present] = weights[:, :-1].T, weights[:, -1]
        yield Fit(decay, kernel, bias, bool(np.all(model.n_iter_ < STEPS)))


def logits(fitted: Fit, features: np.ndarray) -> np.ndarray:
    """Logits [N, K] of standardized features [N, D]."""
    return features @ fitted.kernel + fitted.bias
