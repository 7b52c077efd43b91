"""Classifiers of features whose settings are chosen on validation."""

from collections.abc import Callable, Iterable

import numpy as np

from mpl.run import linear_probe, measure, neighbors
from mpl.run.probe_settings import Settings

Queries = dict[str, tuple[np.ndarray, np.ndarray]]  # by part: features [n, D], label [n]
# The value of the chosen setting, and warnings; the accuracy on each part.
Result = tuple[dict, dict[str, float]]

AT_END = 'the smallest or the largest of several values'
NOT_CONVERGED = f'not converged after {linear_probe.STEPS} steps'


def by_neighbors(
    bank: np.ndarray, label: np.ndarray, queries: Queries, classes: int, settings: Settings
) -> Result:
    """Weighted nearest neighbors among features bank [N, D] with label [N]."""
    largest = max(settings.neighbors)
    found = {part: neighbors.find(bank, query, largest) for part, (query, _) in queries.items()}

    def accuracy(count, part):
        similarity, index = (array[:, :count] for array in found[part])
        scores = neighbors.vote(similarity, label[index], classes, settings.temperature)
        return measure.accuracy(scores, queries[part][1])

    return choose(settings.neighbors, accuracy, queries)


def linearly(
    bank: np.ndarray, label: np.ndarray, queries: Queries, classes: int, settings: Settings
) -> Result:
    """Logistic regression on standardized features bank [N, D] with label [N]."""
    scale = linear_probe.standardize(bank)
    inputs = {part: scale.apply(query) for part, (query, _) in queries.items()}
    fits = linear_probe.fit(scale.apply(bank), label, classes, settings.decays)
    fits = {fitted.decay: fitted for fitted in fits}

    def accuracy(decay, part):
        return measure.accuracy(linear_probe.logits(fits[decay], inputs[part]), queries[part][1])

    chosen, accuracies = choose(tuple(fits), accuracy, queries)
    if not fits[chosen['value']].converged:
        chosen['warnings'].append(NOT_CONVERGED)
    return chosen, accuracies


def choose(values: tuple, accuracy: Callable, parts: Iterable[str]) -> Result:
    """The first of the values with the highest accuracy on validation.

    Args:
      values: one, or several if there is a part 'validation'.
      accuracy: (value, part) -> accuracy.
      parts: to measure the chosen value on.
    """
    if len(values) == 1:
        (best,), warnings = values, []
    else:
        best = max(values, key=lambda value: accuracy(value, 'validation'))
        at_end = best in (min(values), max(values))
        warnings = [AT_END] if at_end else []
    chosen = {'value': best, 'warnings': warnings}
    return chosen, {part: accuracy(best, part) for part in parts}
