"""Which unlabeled examples to train on, by what a network said of them; for pools of any size.

Probabilities are those of one network, or the mean over several. An example belongs to its most
probable class; the most confident of each class are kept. Between equals the smaller number goes
first, so that the result depends neither on how many rows are read at a time nor on how the pool
was shared out. Memory holds what is kept, twice at most, and a number or two for each example.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from mpl.data import splits

ENTRIES = 1 << 22  # numbers of a chunk of rows
BLOCK = 1024  # examples that are compared with the test images at a time


class Rule(NamedTuple):
    """What to keep.

    confidence: least probability of the class. per_class: examples of a class to keep; 0 for all.
    balance: repeats those of smaller classes until there are `per_class`, the most confident
    first; classes without any stay empty.
    """

    confidence: float = 0.0
    per_class: int = 0
    balance: bool = False


class Part(NamedTuple):
    """What a share of the pool comes to: its best examples, and how many there were."""

    number: np.ndarray  # int64 [n], by class, then from the most confident on
    label: np.ndarray  # int32 [n], the class
    confidence: np.ndarray  # float64 [n]
    counts: np.ndarray  # int64 [4]: see COUNTS


COUNTS = ('asked', 'without_logits', 'confidence', 'duplicates')


def check(rule: Rule) -> None:
    """Raises ValueError where the numbers of a rule are not allowed."""
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
    """The best candidates of each class, in a share of the pool.

    Args:
      files: of each network the logits [N, K], NaN in rows of examples that it was not asked
        about; such a row does not count in the mean.
      candidates: numbers of the examples that may be kept, int [n].
      rule: what to keep.
      duplicate: bool [N], those that are not to be kept; None for none.
      shard: (i, n), the i-th of n equal shares of all rows, from 0.
      rows: to read at a time.
    """
    examples, classes = files[0].shape
    rows = rows or max(1, ENTRIES // classes)
    wanted = np.zeros(examples, bool)
    wanted[candidates] = True
    first, last = (examples * (shard[0] + k) // shard[1] for k in (0, 1))
    starts = range(first, last, rows)
    chunks = (start + np.flatnonzero(wanted[start : min(start + rows, last)]) for start in starts)
    found = (_look(files, chosen, rule, duplicate) for chosen in chunks)
    return gather(found, rule, rule.per_class * classes or examples)


def gather(parts: Iterable[Part], rule: Rule, most: int) -> Part:
    """The best of parts that come one by one; merged whenever `most` examples have come."""
    kept, waiting, count = _empty(), [], 0
    for part in parts:
        waiting.append(part)
        count += len(part.number)
        if count >= most:
            kept, waiting, count = merge([kept, *waiting], rule), [], 0
    return merge([kept, *waiting], rule)


def merge(parts: Sequence[Part], rule: Rule) -> Part:
    """The best of several parts."""
    number, label, confidence = (np.concatenate(part) for part in list(zip(*parts))[:3])
    order = np.lexsort((number, -confidence, label))
    if rule.per_class:
        _, starts, sizes = np.unique(label[order], return_index=True, return_counts=True)
        rank = np.arange(len(order)) - np.repeat(starts, sizes)
        order = order[rank < rule.per_class]
    counts = np.sum([part.counts for part in parts], 0)
    return Part(number[order], label[order], confidence[order], counts)


def indices(part: Part, rule: Rule) -> np.ndarray:
    """The examples to train on, int64 [n] ascending, with the repeats of a balanced selection."""
    if not rule.balance:
        return np.sort(part.number)
    found = [part.number[part.label == label] for label in np.unique(part.label)]
    repeated = [np.resize(of, rule.per_class) for of in found]  # One after the other, cyclically.
    return np.sort(np.concatenate([np.zeros(0, np.int64), *repeated]))


def summarize(part: Part, rule: Rule, classes: int) -> dict:
    """What became of the candidates, JSON-able.

    kept: examples, and with repeats `drawn`. kept_per_class: without repeats, over all classes.
    dropped: under the confidence, as duplicates of test images, by rank in their class.
    """
    counts = dict(zip(COUNTS, part.counts.tolist()))
    kept, per_class = len(part.number), np.bincount(part.label, minlength=classes)
    return {
        'candidates': counts['asked'] + counts['without_logits'],
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
            'rank': counts['asked'] - counts['confidence'] - counts['duplicates'] - kept,
        },
    }


def show(counts: dict) -> str:
    """What became of the candidates, in three lines."""
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

    Raises ValueError where none is left.
    """
    if not len(part.number):
        asked = int(part.counts[0])
        raise ValueError(
            f'None of the {asked:,} unlabeled examples with logits is kept at confidence '
            f'{rule.confidence}; give a lower one.'
        )
    return splits.from_indices(split.labeled, indices(part, rule), split.validation)


def near(features: np.ndarray, others: np.ndarray, similarity: float) -> np.ndarray:
    """Which features [n, D] have a cosine similarity of at least so much to one of others [m, D].

    Always in blocks of one shape, so that every process finds the same.
    """
    others = _unit(others).T
    found = np.zeros(len(features), bool)
    for start in range(0, len(features), BLOCK):
        block = np.zeros((BLOCK, features.shape[1]), np.float32)
        size = min(BLOCK, len(features) - start)
        block[:size] = _unit(features[start : start + size])
        found[start : start + size] = (block @ others).max(-1)[:size] >= similarity
    return found


def _look(files, chosen, rule, duplicate):
    """The confident ones of the examples `chosen`, unordered."""
    probability, asked = _mean_probability([np.asarray(file[chosen]) for file in files])
    chosen, probability = chosen[asked], probability[asked]
    label, confidence = np.argmax(probability, -1), probability.max(-1, initial=0)
    sure = confidence >= rule.confidence
    copied = sure & duplicate[chosen] if duplicate is not None else np.zeros(len(chosen), bool)
    counts = np.array([asked.sum(), (~asked).sum(), (~sure).sum(), copied.sum()], np.int64)
    keep = sure & ~copied
    return Part(chosen[keep], label[keep].astype(np.int32), confidence[keep], counts)


def _mean_probability(logits):
    """Probabilities float64 [n, K], the mean over files [n, K] that have a row; and which any has."""
    total, times = np.zeros(logits[0].shape), np.zeros(len(logits[0]))
    for one in logits:
        there = ~np.isnan(one).any(-1)
        there_alone = one[there].astype(np.float64)
        power = np.exp(there_alone - there_alone.max(-1, keepdims=True))
        total[there] += power / power.sum(-1, keepdims=True)
        times += there
    return total / np.maximum(times, 1)[:, None], times > 0


def _unit(features):
    features = np.asarray(features, np.float32)
    length = np.linalg.norm(features, axis=-1, keepdims=True)
    return features / np.maximum(length, np.finfo(np.float32).tiny)


def _empty():
    return Part(
        np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0), np.zeros(len(COUNTS), np.int64)
    )
