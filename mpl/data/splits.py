"""Which examples of a training set are labeled, unlabeled and held out for validation."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

PARTS = ('labeled', 'unlabeled', 'validation')


class Split(NamedTuple):
    """Example numbers, int64, ascending, each at most once in a part.

    But for selected unlabeled examples: one that is there twice is drawn twice in an epoch.
    """

    labeled: np.ndarray
    unlabeled: np.ndarray
    validation: np.ndarray
    hash: str  # 12 hexadecimal digits, from the numbers alone


def draw(
    label: np.ndarray,
    labels: int = 0,
    validation: int = 0,
    seed: int = 0,
    unlabeled_includes_labeled: bool = True,
    classes: Sequence[str] | None = None,
    imbalance: float = 1.0,
) -> Split:
    """Draw a split; the same arguments give the same split with any numpy.

    label: int [N], -1 for none. labels: how many labeled examples to keep in
    total, 0 for all of them (but those held out). They are spread evenly over the
    classes; what does not divide goes one each to classes drawn by the seed.
    validation: how many labeled examples to hold out, in proportion to the classes'
    sizes (largest remainders). Held out examples are neither labeled nor unlabeled.
    The labeled examples of a seed do not depend on `validation`, and those of fewer
    labels are among those of more. Everything else is unlabeled, and so are the
    labeled examples if `unlabeled_includes_labeled`. classes: names for the messages.

    imbalance: how many times as frequent the first class is as the last; the others, in
    their order, lie on a geometric series between them (the long tail of arXiv 1901.05555).
    Of every class as many labeled examples are trained on, with or without their label, as
    the series allows at most, and the rest is in no part; examples without a label all stay
    unlabeled, and what is held out has the classes as they were. `labels` are spread in the
    same proportions, at least one for each class (method of Huntington and Hill, by which
    those of fewer labels are among those of more here too).

    Raises ValueError where a class has too few labeled examples.
    """
    label = np.asarray(label)
    present, sizes = np.unique(label[label >= 0], return_counts=True)
    if not len(present):
        raise ValueError('No example has a label: a split needs some of every class.')
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
    profile = imbalance ** -np.linspace(0, 1, len(present))
    trained = _long_tail(np.maximum(sizes - held, 0), profile)
    if not labels:
        kept = trained
    elif imbalance == 1:
        kept = _even(len(present), labels, seed)
    else:
        kept = _apportion(profile, labels)
    for number, size, train, keep, hold in zip(present, sizes, trained, kept, held):
        if keep > train or keep < 1:
            name = f'{number}' if classes is None else f'{number} ({classes[number]!r})'
            left = f', {train} of them left by imbalance={imbalance:g}' if imbalance != 1 else ''
            raise ValueError(
                f'Class {name} has {size} labeled examples{left}, but labels={labels} and '
                f'validation={validation} ask for {max(keep, 1)} to train on and {hold} to hold out: '
                'lower one of them.'
            )
    labeled, validating, taken = [], [], []
    by_class = np.argsort(label, kind='stable')[np.count_nonzero(label < 0) :]
    ends = np.cumsum(sizes)
    for number, size, end, train, keep, hold in zip(present, sizes, ends, trained, kept, held):
        order = by_class[end - size : end][_order(size, seed, number)]
        labeled.append(order[:keep])
        validating.append(order[size - hold :])  # from the other end: neither moves the other
        taken += [order[train:]] + ([] if unlabeled_includes_labeled else [order[:keep]])
    labeled, validating = np.concatenate(labeled), np.concatenate(validating)
    unlabeled = np.delete(np.arange(len(label)), np.concatenate(taken))
    return from_indices(labeled, unlabeled, validating)


def from_indices(labeled: np.ndarray, unlabeled: np.ndarray, validation: np.ndarray) -> Split:
    """The split of these example numbers, int [n] in any order."""
    parts = [np.sort(part).astype(np.int64) for part in (labeled, unlabeled, validation)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, 'little') + part.astype('<i8').tobytes())
    return Split(*parts, digest.hexdigest()[:12])


def to_record(split: Split, examples: int) -> dict:
    """A split of a training set of `examples` examples, JSON-able."""
    parts = {part: getattr(split, part).tolist() for part in PARTS}
    return {'examples': examples, 'hash': split.hash} | parts


def from_record(record: object, path: str, examples: int | None = None) -> tuple[Split, int]:
    """A split, and the number of examples of its training set.

    Args:
      record: what `to_record` gives; without 'hash' where it was written by hand.
      path: of the file it comes from, for messages.
      examples: the number there should be; None for any.

    Raises:
      ValueError: the record is of another number of examples, or contradicts itself.
    """
    wanted = {'examples', *PARTS}
    if not isinstance(record, dict) or set(record) - {'hash'} != wanted:
        raise ValueError(f'The split {path} must be a JSON object with the keys {sorted(wanted)}.')
    if type(record['examples']) is not int or examples not in (None, record['examples']):
        raise ValueError(
            f'The split {path} is of {record["examples"]} training examples, '
            f'but this data set has {examples or "a whole number of them"}.'
        )
    examples = record['examples']
    labeled, unlabeled, validation = (
        _numbers(path, part, record[part], examples) for part in PARTS
    )
    shared = np.intersect1d(validation, np.concatenate([labeled, unlabeled]))
    if len(shared):
        raise ValueError(
            f"The split {path} has example {shared[0]} both in 'validation' and in training: remove one."
        )
    split = from_indices(labeled, unlabeled, validation)
    if 'hash' in record and record['hash'] != split.hash:
        raise ValueError(
            f'The split {path} says its hash is {record["hash"]}, but its numbers have {split.hash}: '
            "it was changed after it was written; remove 'hash' from it if that was meant."
        )
    return split, examples


def check_labels(split: Split, label: np.ndarray, path: str) -> None:
    """Raises ValueError where an example to train on with a label, or to validate on, has none.

    label: of the training set, int [N], -1 for none. path: of the split's file, for the message.
    """
    for part in ('labeled', 'validation'):
        numbers = getattr(split, part)
        hidden = numbers[np.asarray(label)[numbers] < 0]
        if len(hidden):
            raise ValueError(
                f'The split {path} has example {hidden[0]} in {part!r}, but it has no label.'
            )


def _numbers(path: str, part: str, values: object, examples: int) -> np.ndarray:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise ValueError(f'The split {path} must have a list of whole numbers as {part!r}.')
    for value in (min(values), max(values)) if values else ():
        if not 0 <= value < examples:
            raise ValueError(
                f'The split {path} has example {value} in {part!r}, '
                f'but the numbers go from 0 to {examples - 1}.'
            )
    numbers = np.array(values, np.int64)
    if part != 'unlabeled' and len(np.unique(numbers)) != len(numbers):
        raise ValueError(f'The split {path} has an example twice in {part!r}.')
    return numbers


def _even(classes: int, total: int, seed: int) -> np.ndarray:
    counts = np.full(classes, total // classes)
    counts[_order(classes, seed, -1)[: total % classes]] += 1
    return counts


def _long_tail(sizes: np.ndarray, profile: np.ndarray) -> np.ndarray:
    """The most examples of each class in the proportions of profile, of which the first is 1."""
    if np.all(profile == 1):  # As they are: no imbalance is not the same as balance.
        return sizes
    first = np.floor(np.min(sizes / profile) + 1e-9)
    return np.rint(first * profile).astype(np.int64)


def _apportion(profile: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers of a sum, from 1 up, in the proportions of profile; none falls as it grows."""
    counts = np.ones(len(profile), np.int64)
    for _ in range(total - len(profile)):
        counts[np.argmax(profile / np.sqrt(counts * (counts + 1)))] += 1
    return counts


def _proportional(sizes: np.ndarray, total: int) -> np.ndarray:
    counts, remainder = np.divmod(total * sizes, sizes.sum())
    counts[np.argsort(-remainder, kind='stable')[: total - counts.sum()]] += 1
    return counts


def _order(size: int, seed: int, number: int) -> np.ndarray:
    """A permutation of 0..size-1 from raw bits, whose stream numpy promises to keep."""
    bits = np.random.PCG64([seed, number + 1])
    return np.argsort(bits.random_raw(size), kind='stable')
