"""How many examples of each class a split holds out, trains on and labels."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

SHOWN = 20  # classes in a message


class Counts(NamedTuple):
    """Examples of each class that is present, int64 [K]."""

    held: np.ndarray  # for validation
    trained: np.ndarray  # with or without labels
    kept: np.ndarray  # with labels


def plan(
    present: np.ndarray,
    sizes: np.ndarray,
    labels: int,
    validation: int,
    seed: int,
    classes: Sequence[str] | None,
    imbalance: float,
    rare: Sequence[str],
) -> Counts:
    """The counts of a split; see splits.draw.

    Args:
      present: int [K], the classes with labeled examples, ascending.
      sizes: int [K], their labeled examples.
      labels, validation, seed, classes, imbalance, rare: as in splits.draw.

    Raises:
      ValueError: a number is not allowed, or a class has too few examples.
    """
    if labels < 0 or validation < 0:
        raise ValueError(
            f'labels is {labels} and validation {validation}: give numbers from 0 up (0 labels: all).'
        )
    if 0 < labels < len(present):
        raise ValueError(
            f'labels is {labels} but there are {len(present)} classes: '
            'give at least one for each, or 0 for all labeled examples.'
        )
    if not imbalance >= 1:
        raise ValueError(
            f'imbalance is {imbalance}: give 1 or more, how many times as frequent the first class '
            'is as the last.'
        )
    held = _proportional(sizes, validation)
    profile = _profile(present, imbalance, rare, classes)
    trained = _thin(np.maximum(sizes - held, 0), profile)
    if not labels:
        kept = trained
    elif imbalance == 1:
        kept = _even(len(present), labels, seed)
    else:
        kept = _apportion(profile, labels)
    for k, size, train, keep, hold in zip(present, sizes, trained, kept, held):
        if keep > train or keep < 1:
            name = f'{k}' if classes is None else f'{k} ({classes[k]!r})'
            left = f', {train} of them left by imbalance={imbalance:g}' if imbalance != 1 else ''
            raise ValueError(
                f'Class {name} has {size} labeled examples{left}, but labels={labels} and '
                f'validation={validation} need {max(keep, 1)} to train on and {hold} to hold out: '
                'lower one of them.'
            )
    return Counts(held, trained, kept)


def check_classes(
    key: str, names: Sequence[str], classes: Sequence[str], kind: str = 'no class'
) -> None:
    """Raises ValueError for a name that is none of the classes; key: of the config, kind: what it is then."""
    for name in names:
        if name not in classes:
            more = ', ...' if len(classes) > SHOWN else ''
            raise ValueError(
                f'{key} has {name!r}, which is {kind}; give some of '
                f'{", ".join(map(repr, classes[:SHOWN]))}{more}.'
            )


def order(size: int, seed: int, stream: int) -> np.ndarray:
    """A permutation of 0..size-1 from raw bits, whose stream numpy guarantees to keep."""
    bits = np.random.PCG64([seed, stream + 1])
    return np.argsort(bits.random_raw(size), kind='stable')


def _even(classes: int, total: int, seed: int) -> np.ndarray:
    counts = np.full(classes, total // classes)
    counts[order(classes, seed, -1)[: total % classes]] += 1
    return counts


def _profile(present, imbalance, rare, classes):
    """The frequency of each class that is present, relative to the most frequent one."""
    if not rare:
        return imbalance ** -np.linspace(0, 1, len(present))
    check_classes('split.rare', rare, classes, 'no class that is learned')
    few = np.array([classes[k] in rare for k in present])
    if few.all() or imbalance == 1:
        raise ValueError(
            f'split.rare is {tuple(rare)} and imbalance {imbalance:g}: leave at least one class out of '
            'rare, and give an imbalance above 1.'
        )
    return np.where(few, 1 / imbalance, 1.0)


def _thin(sizes: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """The largest counts of each class in the proportions of profile, whose largest entry is 1."""
    if np.all(profile == 1):  # Unchanged: without imbalance classes are not made equal.
        return sizes
    most = np.floor(np.min(sizes / profile) + 1e-9)
    return np.rint(most * profile).astype(np.int64)


def _apportion(profile: np.ndarray, total: int) -> np.ndarray:
    """Integers of at least 1 with the sum `total` in the proportions of profile, monotone in total."""
    counts = np.ones(len(profile), np.int64)
    for _ in range(total - len(profile)):
        counts[np.argmax(profile / np.sqrt(counts * (counts + 1)))] += 1
    return counts


def _proportional(sizes: np.ndarray, total: int) -> np.ndarray:
    counts, remainder = np.divmod(total * sizes, sizes.sum())
    counts[np.argsort(-remainder, kind='stable')[: total - counts.sum()]] += 1
    return counts
