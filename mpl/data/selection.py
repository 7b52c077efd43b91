"""Selection of unlabeled examples by the logits of networks, for pools of any size.

Probabilities are those of one network, or the mean over several. The class of an example is its
most probable one, and the most confident examples of each class are kept. Ties go to the smaller
index, so the result depends neither on the number of rows that are read at a time nor on the
shards of the pool. Memory: at most twice the selected examples, and one or two values per example.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mpl.data import splits

ENTRIES = 1 << 22  # logits in a chunk of rows
BLOCK = 1024  # examples that are compared with the test images at a time


class Rule(NamedTuple):
    """The rule of a selection.

    confidence: minimum probability of the class. per_class: examples of a class to keep; 0 for all.
    balance: repeat examples of smaller classes until there are `per_class`, the most confident
    first; classes without examples stay empty.
    """

    confidence: float = 0.0
    per_class: int = 0
    balance: bool = False


class Part(NamedTuple):
    """The selected examples of a shard of the pool, and counts."""

    index: np.ndarray  # int64 [n], sorted by class, then by decreasing confidence
    label: np.ndarray  # int32 [n], the class
    confidence: np.ndarray  # float64 [n]
    counts: np.ndarray  # int64 [4]: see COUNTS


COUNTS = ('with_logits', 'without_logits', 'confidence', 'duplicates')


def check(rule: Rule) -> None:
    """Raises ValueError for values of a rule that are not allowed."""
    if not 0 <= rule.confidence <= 1:
        raise ValueError(f'confidence is {rule.confidence}; give a probability, from 0 to 1.')
    if rule.per_class < 0:
        raise ValueError(f'per_class is {rule.per_class}; give 0 or more.')
    if rule.balance and not rule.per_class:
        raise ValueError('balance repeats up to per_class examples; give per_class above 0.')


def scan(
    files: Sequence[np.ndarray],
    candidates: np.ndarray,
    rule: Rule,
    duplicate: np.ndarray | None = None,
    shard: tuple[int, int] = (0, 1),
    rows: int | None = None,
) -> Part:
    """The most confident candidates of each class, in a shard of the pool.

    Args:
      files: the logits [N, K] of each network; rows of examples without logits are NaN, and do not
        count in the mean.
      candidates: indices of the examples that may be kept, int [n].
      rule: of the selection.
      duplicate: bool [N], the examples to drop as duplicates; None for none.
      shard: (i, n), the i-th of n equal shards of all rows, from 0.
      rows: rows to read at a time.
    """
    examples, classes = files[0].shape
    rows = rows or max(1, ENTRIES // classes)
    is_candidate = np.zeros(examples, bool)
    is_candidate[candidates] = True
    first, last = (examples * (shard[0] + k) // shard[1] for k in (0, 1))
    starts = range(first, last, rows)
    chunks = (
        start + np.flatnonzero(is_candidate[start : min(start + rows, last)]) for start in starts
    )
    parts = (_select(files, chunk, rule, duplicate) for chunk in chunks)
    return gather(parts, rule, rule.per_class * classes or examples)


def gather(parts: Iterable[Part], rule: Rule, most: int) -> Part:
    """Merges an iterator of parts, whenever `most` examples have accumulated."""
    kept, waiting, count = _empty(), [], 0
    for part in parts:
        waiting.append(part)
        count += len(part.index)
        if count >= most:
            kept, waiting, count = merge([kept, *waiting], rule), [], 0
    return merge([kept, *waiting], rule)


def merge(parts: Sequence[Part], rule: Rule) -> Part:
    """Several parts as one, with at most `per_class` examples of each class."""
    index, label, confidence = (np.concatenate(part) for part in list(zip(*parts))[:3])
    order = np.lexsort((index, -confidence, label))
    if rule.per_class:
        _, starts, sizes = np.unique(label[order], return_index=True, return_counts=True)
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        order = order[rank < rule.per_class]
    counts = np.sum([part.counts for part in parts], 0)
    return Part(index[order], label[order], confidence[order], counts)


def indices(part: Part, rule: Rule) -> np.ndarray:
    """Indices of the examples to train on, int64 [n] ascending, with the repeats of `balance`."""
    if not rule.balance:
        return np.sort(part.index)
    by_class = [part.index[part.label == label] for label in np.unique(part.label)]
    repeated = [np.resize(index, rule.per_class) for index in by_class]  # Cyclically.
    return np.sort(np.concatenate([np.zeros(0, np.int64), *repeated]))


def summarize(part: Part, rule: Rule, classes: int) -> dict:
    """Counts of the kept and dropped candidates, JSON-able.

    kept: examples, and with repeats `drawn`. kept_per_class: without repeats, over all classes.
    dropped: below the confidence, as duplicates of test images, by rank in their class.
    """
    counts = dict(zip(COUNTS, part.counts.tolist()))
    kept, per_class = len(part.index), np.bincount(part.label, minlength=classes)
    return {
        'candidates': counts['with_logits'] + counts['without_logits'],
        'without_logits': counts['without_logits'],
        'kept': kept,
        'drawn': len(indices(part, rule)),
        'kept_per_class': {
            'min': int(per_class.min()),
            'median': float(np.median(per_class)),
            'max': int(per_class.max()),
        },
        'dropped': {
            'confidence': counts['confidence'],
            'duplicates': counts['duplicates'],
            'rank': counts['with_logits'] - counts['confidence'] - counts['duplicates'] - kept,
        },
    }


def show(counts: dict) -> str:
    """The counts of `summarize` in three lines of text."""
    per_class, dropped = counts['kept_per_class'], counts['dropped']
    return (
        f'{counts["kept"]:,} of {counts["candidates"]:,} unlabeled examples are kept, '
        f'{counts["drawn"]:,} with repeats; {counts["without_logits"]:,} have no logits.\n'
        f'Kept per class: least {per_class["min"]:,}, median {per_class["median"]:,.0f}, most '
        f'{per_class["max"]:,}.\n'
        f'Dropped: {dropped["confidence"]:,} by confidence, {dropped["duplicates"]:,} as '
        f'duplicates of test images, {dropped["rank"]:,} by rank.'
    )


def apply(part: Part, rule: Rule, split: splits.Split) -> splits.Split:
    """The split with the selected examples as its unlabeled ones.

    Raises ValueError if none is selected.
    """
    if not len(part.index):
        with_logits = int(part.counts[0])
        raise ValueError(
            f'None of the {with_logits:,} unlabeled examples with logits is kept at confidence '
            f'{rule.confidence}; give a lower one.'
        )
    return splits.from_indices(split.labeled, indices(part, rule), split.validation)


def near(features: np.ndarray, others: np.ndarray, similarity: float) -> np.ndarray:
    """Which of features [n, D] have at least this cosine similarity to one of others [m, D]: bool [n].

    Computed in blocks of one shape, so that the result is the same in every process.
    """
    others = _unit(others).T
    found = np.zeros(len(features), bool)
    for start in range(0, len(features), BLOCK):
        block = np.zeros((BLOCK, features.shape[1]), np.float32)
        size = min(BLOCK, len(features) - start)
        block[:size] = _unit(features[start : start + size])
        found[start : start + size] = (block @ others).max(-1)[:size] >= similarity
    return found


def _select(files, index, rule, duplicate):
    """The confident examples among `index`, unordered."""
    probability, has_logits = _mean_probability([np.asarray(file[index]) for file in files])
    index, probability = index[has_logits], probability[has_logits]
    label, confidence = np.argmax(probability, -1), probability.max(-1, initial=0)
    confident = confidence >= rule.confidence
    dropped = confident & duplicate[index] if duplicate is not None else np.zeros(len(index), bool)
    counts = [has_logits.sum(), (~has_logits).sum(), (~confident).sum(), dropped.sum()]
    keep = confident & ~dropped
    label = label[keep].astype(np.int32)
    return Part(index[keep], label, confidence[keep], np.array(counts, np.int64))


def _mean_probability(logits):
    """The mean probabilities float64 [n, K] over the files with logits, and whether any has: bool [n]."""
    total, count = np.zeros(logits[0].shape), np.zeros(len(logits[0]))
    for one in logits:
        present = ~np.isnan(one).any(-1)
        rows = one[present].astype(np.float64)
        power = np.exp(rows - rows.max(-1, keepdims=True))
        total[present] += power / power.sum(-1, keepdims=True)
        count += present
    return total / np.maximum(count, 1)[:, None], count > 0


def _unit(features):
    features = np.asarray(features, np.float32)
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def _empty():
    return Part(
        np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(len(COUNTS), np.int64)
    )
