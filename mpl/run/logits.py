"""What a network says of every example of a pool, in one file, written row by row."""

import contextlib
import os
from collections.abc import Iterator

import numpy as np

from mpl.models.network import Outputs

ENTRIES = 1 << 22  # numbers that are held in memory at a time


def open_rows(path: str, examples: int, classes: int) -> np.memmap:
    """Logits float32 [examples, classes] in a .npy file, NaN where an example was not asked yet.

    The file that is there is gone on with. A new one has all its room at once: 5.1 GB for
    1.28 million examples of 1,000 classes.

    Raises:
      ValueError: what is there is something else.
      OSError: there is no room for it.
    """
    if not os.path.exists(path):
        _write_empty(path, examples, classes)
    rows = read(path, 'r+')
    if rows.shape != (examples, classes):
        raise ValueError(
            f'{path} holds logits of {rows.shape[0]:,} examples and {rows.shape[1]} classes, but '
            f'there are {examples:,} and {classes}; give another name.'
        )
    return rows


def read(path: str, mode: str = 'r') -> np.memmap:
    """The logits in a file, float32 [N, K], mapped into memory and not read.

    Raises:
      ValueError: the file holds something else.
    """
    rows = None
    with contextlib.suppress(ValueError, EOFError):  # numpy's, which speaks of pickles.
        rows = np.load(path, mmap_mode=mode, allow_pickle=False)
    if not isinstance(rows, np.memmap) or rows.ndim != 2 or rows.dtype != np.float32:
        raise ValueError(
            f'{path} does not hold logits, float32 [examples, classes] as mpl.predict --logits '
            'writes them; give another file.'
        )
    return rows


def missing(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """Which of the examples `numbers` [n] have no row yet; a row that was cut short is none."""
    size = max(1, ENTRIES // rows.shape[1])
    cuts = (numbers[start : start + size] for start in range(0, len(numbers), size))
    return np.concatenate(
        [cut[np.isnan(rows[cut]).any(-1)] for cut in cuts] or [np.zeros(0, np.int64)]
    )


def keep(
    rows: np.memmap, said: Iterator[tuple[list[str], np.ndarray, Outputs]]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Passes on what `predict.predict` yields, each chunk when its rows are written.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    for names, numbers, outputs in said:
        if not np.all(np.isfinite(outputs.logits)):
            raise FloatingPointError(
                f'The network gives logits that are not finite, for one of {names[0]} to {names[-1]}.'
            )
        rows[numbers] = outputs.logits
        yield names, numbers, outputs
    rows.flush()


def _write_empty(path, examples, classes):
    beside = f'{path}.tmp'
    empty = np.full((max(1, ENTRIES // classes), classes), np.nan, np.float32)
    with open(beside, 'wb') as file:  # Not mapped: where a disk is full, this is an error.
        form = {'descr': '<f4', 'fortran_order': False, 'shape': (examples, classes)}
        np.lib.format.write_array_header_1_0(file, form)
        for start in range(0, examples, len(empty)):
            file.write(empty[: examples - start].tobytes())
    os.replace(beside, path)
