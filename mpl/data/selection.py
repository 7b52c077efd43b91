"""Selection of unlabeled examples by the logits of networks, for pools of any size.

Probabilities are those of one network, or the mean over several. The class of an example is its
most probable one, and the most confident examples of each class are kept. Ties go to the smaller
index, so the result depends neither on the number of rows that are read at a time nor on the
shards of the pool. Predictions are written to Parquet files, which ranking.py ranks on disk.
Memory: a byte or two for each example of the pool.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from mpl.data import splits

ENTRIES = 1 << 22  # logits in a chunk of rows
BLOCK = 1024  # examples that are compared with the test images at a time

# An example's index in the training set, its most probable class and the probability of that.
SCHEMA = pa.schema([('number', pa.int64()), ('class', pa.int32()), ('confidence', pa.float64())])
WITH_DUPLICATES = SCHEMA.append(pa.field('duplicate', pa.bool_()))  # of a test image


class Rule(NamedTuple):
    """The rule of a selection.

    confidence: minimum probability of the class. per_class: examples of a class to keep; 0 for all.
    balance: repeat examples of smaller classes until there are `per_class`, the most confident
    first; classes without examples stay empty.
    """

    confidence: float = 0.0
    per_class: int = 0
    balance: bool = False


class Ranking(NamedTuple):
    """The candidates that a rule keeps, and how many it drops for which reason; see ranking.py."""

    numbers: np.ndarray  # int64 [n], ascending, with the repeats of `balance`
    per_class: np.ndarray  # int64 [K], kept examples without repeats
    predicted: int  # candidates with a prediction
    below: int  # the minimum confidence
    duplicates: int  # of test images, among the confident ones


def check(rule: Rule) -> None:
    """Raises ValueError for values of a rule that are not allowed."""
    if not 0 <= rule.confidence <= 1:
        raise ValueError(f'confidence is {rule.confidence}; give a probability, from 0 to 1.')
    if rule.per_class < 0:
        raise ValueError(f'per_class is {rule.per_class}; give 0 or more.')
    if rule.balance and not rule.per_class:
        raise ValueError('balance repeats up to per_class examples; give per_class above 0.')


def predict(logits: Sequence[np.ndarray], indices: np.ndarray) -> pa.Table:
    """The predictions of some examples, in SCHEMA; those without logits of any network are left out.

    logits: [n, K] of each network; rows without logits are NaN, and do not count in the mean.
    indices: of the n examples, ascending.
    """
    probability, has_logits = mean_probability(logits)
    probability = probability[has_logits]
    label = np.argmax(probability, -1).astype(np.int32)
    columns = indices[has_logits].astype(np.int64), label, probability.max(-1, initial=0)
    return pa.table(columns, SCHEMA)


def score(
    files: Sequence[np.ndarray],
    candidates: np.ndarray,
    duplicate: np.ndarray | None = None,
    shard: tuple[int, int] = (0, 1),
    rows: int | None = None,
) -> Iterator[pa.Table]:
    """The predictions of the candidates with logits in a shard of the pool, in WITH_DUPLICATES.

    Args:
      files: the logits [N, K] of each network; see `predict`.
      candidates: bool [N], which examples may be kept.
      duplicate: bool [N], the examples to drop as duplicates; None for none.
      shard: (i, n), the i-th of n equal shards of all rows, from 0.
      rows: rows to read at a time.
    """
    examples, classes = files[0].shape
    rows = rows or max(1, ENTRIES // classes)
    first, last = (examples * (shard[0] + k) // shard[1] for k in (0, 1))
    for start in range(first, last, rows):
        index = start + np.flatnonzero(candidates[start : min(start + rows, last)])
        table = predict([np.asarray(file[index]) for file in files], index)
        number = table['number'].to_numpy()
        dropped = np.zeros(len(number), bool) if duplicate is None else duplicate[number]
        yield table.append_column(WITH_DUPLICATES.field('duplicate'), pa.array(dropped))


def find_candidates(split: splits.Split, examples: int) -> np.ndarray:
    """Which of all examples of the training set may be selected, bool [N]: the unlabeled ones."""
    candidates = np.zeros(examples, bool)
    candidates[split.unlabeled] = True
    return candidates


def summarize(found: Ranking, candidates: int) -> dict:
    """Counts of the kept and dropped candidates, JSON-serializable.

    kept: examples, and with repeats `drawn`. kept_per_class: without repeats, over all classes.
    dropped: below the confidence, as duplicates of test images, by rank in their class.

    candidates: their number, with or without predictions.
    """
    kept, per_class = int(found.per_class.sum()), found.per_class
    return {
        'candidates': candidates,
        'without_logits': candidates - found.predicted,
        'kept': kept,
        'drawn': len(found.numbers),
        'kept_per_class': {
            'min': int(per_class.min()),
            'median': float(np.median(per_class)),
            'max': int(per_class.max()),
        },
        'dropped': {
            'confidence': found.below,
            'duplicates': found.duplicates,
            'rank': found.predicted - found.below - found.duplicates - kept,
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


def apply(found: Ranking, rule: Rule, split: splits.Split) -> splits.Split:
    """The split with the selected examples as its unlabeled ones.

    Raises ValueError if none is selected.
    """
    if not len(found.numbers):
        raise ValueError(
            f'None of the {found.predicted:,} unlabeled examples with logits is kept at confidence '
            f'{rule.confidence}; give a lower one.'
        )
    return splits.from_indices(split.labeled, found.numbers, split.validation)


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


def mean_probability(logits: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The mean probabilities float64 [n, K] over the networks with logits, and whether any has: bool [n].

    logits: [n, K] of each network; rows without logits are NaN.
    """
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
