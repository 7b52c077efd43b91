"""Splits of a training set into labeled, unlabeled and validation examples."""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mpl.data import class_counts

PARTS = ('labeled', 'unlabeled', 'validation')
CHUNK = 1 << 20  # indices in memory at a time, where they are in a file


class Split(NamedTuple):
    """Example indices, int64, ascending, each at most once in a part.

    Selected unlabeled examples may repeat: one that occurs twice is sampled twice per epoch.
    """

    labeled: np.ndarray
    unlabeled: np.ndarray
    validation: np.ndarray
    hash: str  # 12 hexadecimal digits, from the indices alone


def draw(
    label: np.ndarray,
    labels: int = 0,
    validation: int = 0,
    seed: int = 0,
    unlabeled_includes_labeled: bool = True,
    classes: Sequence[str] | None = None,
    imbalance: float = 1.0,
    rare: Sequence[str] = (),
) -> Split:
    """Sample a split; the same arguments give the same split with any version of numpy.

    label: int [N], -1 for none. labels: number of labeled examples to keep, 0 for all that are not
    held out. Their number per class is equal; a remainder goes to classes sampled by the seed.
    validation: number of labeled examples to hold out, in proportion to class sizes (largest
    remainders). Held-out examples are neither labeled nor unlabeled. The labeled examples of a seed
    do not depend on `validation`, and a smaller number of labels is a subset of a larger one.
    All other examples are unlabeled, and with `unlabeled_includes_labeled` the labeled ones too.
    classes: names for error messages.

    imbalance: ratio of the frequency of the first class to that of the last; the others, in order,
    are on a geometric series between them (the long tail of arXiv 1901.05555). Of each class the
    largest number of labeled examples that the series allows is trained on, with or without labels;
    the rest is in no part. Examples without a label all stay unlabeled, and the validation examples
    keep the original class frequencies. `labels` are distributed in the same proportions, at least
    one per class, by the Huntington-Hill method (so a smaller number is a subset here too).
    rare: names of classes; then each of them has 1 / imbalance of the frequency of each other class (the
    step imbalance of arXiv 1710.05381), instead of the series.

    If no example has a label, all are unlabeled.

    Raises ValueError if a class has too few labeled examples.
    """
    label = np.asarray(label)
    present, sizes = np.unique(label[label >= 0], return_counts=True)
    if not len(present):
        if labels or validation or imbalance != 1 or rare:
            raise ValueError(
                'No example has a label: set split.labels, split.validation and batch.labeled to 0, '
                'split.imbalance to 1, split.rare to (), and choose an algorithm that needs no labels.'
            )
        return from_indices(np.zeros(0, int), np.arange(len(label)), np.zeros(0, int))
    counts = class_counts.plan(present, sizes, labels, validation, seed, classes, imbalance, rare)
    labeled, validating, taken = [], [], []
    by_class = np.argsort(label, kind='stable')[np.count_nonzero(label < 0) :]
    ends = np.cumsum(sizes)
    for k, size, end, hold, train, keep in zip(present, sizes, ends, *counts):
        order = by_class[end - size : end][class_counts.order(size, seed, k)]
        labeled.append(order[:keep])
        validating.append(order[size - hold :])  # from the other end: neither moves the other
        taken += [order[train:]] + ([] if unlabeled_includes_labeled else [order[:keep]])
    labeled, validating = np.concatenate(labeled), np.concatenate(validating)
    unlabeled = np.delete(np.arange(len(label)), np.concatenate(taken))
    return from_indices(labeled, unlabeled, validating)


def uniform(
    indices: np.ndarray, labels: int, validation: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Examples to label and examples to hold out, int64 each, without regard to their classes.

    Uniform over `indices`, without replacement, in random order; the same arguments give the same
    examples with any version of numpy. Neither number moves the other's examples, and a smaller
    number gives the first ones of a larger one.

    Raises ValueError if there are too few examples.
    """
    if labels < 0 or validation < 0 or labels + validation > len(indices):
        raise ValueError(
            f'{labels} examples to label and {validation} to hold out cannot be drawn from '
            f'{len(indices)}: give numbers from 0 up that fit.'
        )
    order = np.sort(indices).astype(np.int64)[class_counts.order(len(indices), seed, -1)]
    return order[:labels], order[len(order) - validation :]


def from_indices(labeled: np.ndarray, unlabeled: np.ndarray, validation: np.ndarray) -> Split:
    """The split with these example indices, int [n] in any order."""
    parts = [_ascending(part) for part in (labeled, unlabeled, validation)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(len(part).to_bytes(8, 'little'))
        for start in range(0, len(part), CHUNK):
            digest.update(part[start : start + CHUNK].astype('<i8').tobytes())
    return Split(*parts, digest.hexdigest()[:12])


def to_record(split: Split, examples: int) -> dict:
    """A split of a training set of `examples` examples, JSON-serializable."""
    parts = {part: getattr(split, part).tolist() for part in PARTS}
    return {'examples': examples, 'hash': split.hash} | parts


def from_record(record: object, path: str, examples: int | None = None) -> tuple[Split, int]:
    """A split, and the number of examples of its training set.

    Args:
      record: the result of `to_record`; 'hash' may be absent, as in a file written by hand.
      path: of its file, for error messages.
      examples: the expected number of examples; None for any.

    Raises:
      ValueError: the record has another number of examples, or is inconsistent.
    """
    keys = {'examples', *PARTS}
    if not isinstance(record, dict) or set(record) - {'hash'} != keys:
        raise ValueError(f'The split {path} must be a JSON object with the keys {sorted(keys)}.')
    if type(record['examples']) is not int or examples not in (None, record['examples']):
        raise ValueError(
            f'The split {path} is of {record["examples"]} training examples, '
            f'but this data set has {examples or "a whole number of them"}.'
        )
    examples = record['examples']
    labeled, unlabeled, validation = (
        _indices(path, part, record[part], examples) for part in PARTS
    )
    shared = np.intersect1d(validation, np.concatenate([labeled, unlabeled]))
    if len(shared):
        raise ValueError(
            f"The split {path} has example {shared[0]} both in 'validation' and in training: remove one."
        )
    split = from_indices(labeled, unlabeled, validation)
    if 'hash' in record and record['hash'] != split.hash:
        raise ValueError(
            f'The split {path} has the hash {record["hash"]}, but its indices have {split.hash}: '
            "it was changed after it was written; remove 'hash' from it if this was intended."
        )
    return split, examples


def check_labels(split: Split, label: np.ndarray, path: str) -> None:
    """Raises ValueError if an example of 'labeled' or 'validation' has no label.

    label: of the training set, int [N], -1 for none. path: of the split's file, for the message.
    """
    for part in ('labeled', 'validation'):
        indices = getattr(split, part)
        hidden = indices[np.asarray(label)[indices] < 0]
        if len(hidden):
            raise ValueError(
                f'The split {path} has example {hidden[0]} in {part!r}, but it has no label.'
            )


def _indices(path: str, part: str, values: object, examples: int) -> np.ndarray:
    if not isinstance(values, list) or any(type(value) is not int for value in values):
        raise ValueError(f'The split {path} must have a list of whole numbers as {part!r}.')
    for value in (min(values), max(values)) if values else ():
        if not 0 <= value < examples:
            raise ValueError(
                f'The split {path} has example {value} in {part!r}, '
                f'but the indices go from 0 to {examples - 1}.'
            )
    indices = np.array(values, np.int64)
    if part != 'unlabeled' and len(np.unique(indices)) != len(indices):
        raise ValueError(f'The split {path} has an example twice in {part!r}.')
    return indices


def _ascending(part):
    """The part sorted, int64; one that is sorted is not copied, so that it can be memory-mapped."""
    part = np.asarray(part).astype(np.int64, copy=False)
    starts = range(0, len(part), CHUNK)
    chunks = (part[start : start + CHUNK + 1] for start in starts)
    return part if all(np.all(chunk[1:] >= chunk[:-1]) for chunk in chunks) else np.sort(part)
