"""Logits of every example of a pool in one file, written row by row.

<path> holds float32 [N, K] in numpy's format, NaN where no row is written. <path>.json says what
made it (see provenance.py). <path>.crc holds a checksum of each row, uint32 [N], little-endian: CRC-32
of its bytes, begun with its number, so that rows that were changed, cut or exchanged are noticed
when they are read; 0 where no row is written. A row counts once its checksum is there, so that the
file can be gone on with after a kill at any moment.
"""

import contextlib
import dataclasses
import fcntl
import os
import zlib
from collections.abc import Iterator

import numpy as np
from etils import epath

from mpl.models.network import Outputs
from mpl.run import provenance, records

ENTRIES = 1 << 22  # numbers that are held in memory at a time


@dataclasses.dataclass(frozen=True)
class Rows:
    """Logits in a file, mapped into memory; `rows[numbers]` reads and verifies them."""

    path: str
    logits: np.memmap  # float32 [N, K]
    checksums: np.memmap  # uint32 [N]
    made_by: dict

    @property
    def shape(self) -> tuple[int, int]:
        return self.logits.shape

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        """The rows of these examples, float32 [*numbers.shape, K]; NaN where none is written.

        Raises:
          ValueError: a row is not as it was written.
        """
        flat = np.asarray(numbers).ravel()
        found, wanted = self.logits[flat], self.checksums[flat]
        found[wanted == 0] = np.nan
        changed = flat[(wanted != 0) & (wanted != _checksums(found, flat))]
        if len(changed):
            raise ValueError(
                f'{self.path} has {len(changed)} rows that are not as they were written, the first of '
                f'example {changed[0]} (their checksums do not match); run the command that wrote it '
                'again, which computes them anew.'
            )
        return found.reshape(*np.shape(numbers), -1)


@contextlib.contextmanager
def open_rows(path: str, examples: int, classes: int, made_by: dict) -> Iterator[Rows]:
    """Logits [examples, classes] to write, in a new file or one that is gone on with.

    A new file has all its room at once: 5.1 GB for 1.28 million examples of 1,000 classes.

    Args:
      path: of the file.
      examples, classes: of the pool.
      made_by: what gives the logits.

    Raises:
      ValueError: what is there is something else, or another process writes it.
      OSError: there is no room for it.
    """
    if os.path.exists(path):
        read(path)  # Refused before anything is written beside it.
    with _lock(path):
        if not os.path.exists(path):
            with open(f'{path}.crc', 'r+b') as file:  # The one that is locked.
                file.truncate(0)
                file.write(bytes(4 * examples))
            record = {'made_by': made_by, 'examples': examples, 'classes': classes}
            records.write(epath.Path(f'{path}.json'), record)
            _write_empty(path, examples, classes)  # Last: a file that is there is complete.
        rows = read(path, 'r+')
        if lines := provenance.differences(rows.made_by, made_by):
            raise ValueError(
                f'{path} holds logits of {provenance.describe(rows.made_by)}, not of '
                f'{provenance.describe(made_by)} ({"; ".join(lines)}); give another name, or delete it.'
            )
        yield rows


def read(path: str, mode: str = 'r') -> Rows:
    """The logits in a file; rows are read from it, and verified, when they are asked for.

    Raises:
      ValueError: the file, or one of those beside it, holds something else, or was changed.
    """
    rows = checksums = None
    with contextlib.suppress(ValueError, EOFError):  # numpy's, which speaks of pickles.
        rows = np.load(path, mmap_mode=mode, allow_pickle=False)
    if not isinstance(rows, np.memmap) or rows.ndim != 2 or rows.dtype != np.float32:
        raise ValueError(
            f'{path} does not hold logits, float32 [examples, classes] as mpl.predict --logits '
            'writes them; give another file.'
        )
    beside = epath.Path(f'{path}.json')
    if not beside.exists():
        raise ValueError(
            f'{path} does not say what made it ({beside} is missing); write it with mpl.predict '
            '--logits, or keep the files together.'
        )
    record = records.read(beside, f'the record of what made {path}', 'write it anew elsewhere')
    with contextlib.suppress(ValueError, OSError):
        checksums = np.memmap(f'{path}.crc', '<u4', mode)
    if checksums is None or not (record['examples'],) == checksums.shape == rows.shape[:1]:
        raise ValueError(
            f'{path} has not one row, and {path}.crc not one checksum, for each of '
            f'{record["examples"]:,} examples: one of them was cut or exchanged; write it anew.'
        )
    if record['classes'] != rows.shape[1]:
        raise ValueError(
            f'{path} has {rows.shape[1]} classes, but was written with {record["classes"]}; write it '
            'anew.'
        )
    return Rows(path, rows, checksums, record['made_by'])


def missing(rows: Rows, numbers: np.ndarray) -> np.ndarray:
    """Which of the examples `numbers` [n] have no row, or one that is not as it was written."""
    size = max(1, ENTRIES // rows.shape[1])
    cuts = (numbers[start : start + size] for start in range(0, len(numbers), size))
    return np.concatenate(
        [cut[rows.checksums[cut] != _checksums(rows.logits[cut], cut)] for cut in cuts]
        or [np.zeros(0, np.int64)]
    )


def store(
    rows: Rows, said: Iterator[tuple[list[str], np.ndarray, Outputs]]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Passes on what `predict.predict` yields, each chunk when its rows are written.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    for names, numbers, outputs in said:
        check_finite(names, outputs)
        rows.logits[numbers] = outputs.logits
        rows.checksums[numbers] = _checksums(outputs.logits, numbers)
        yield names, numbers, outputs
    rows.logits.flush()
    rows.checksums.flush()


def check_finite(names: list[str], outputs: Outputs) -> None:
    """Raises FloatingPointError where a logit or a feature of the examples `names` is not finite."""
    for what, values in (('logits', outputs.logits), ('features', outputs.features)):
        if values is not None and not np.all(np.isfinite(values)):
            raise FloatingPointError(
                f'The network gives {what} that are not finite, for one of {names[0]} to {names[-1]}.'
            )


def _checksums(rows, numbers):
    """Of rows float32 [n, K] of the examples numbers [n], uint32 [n]; never 0."""
    rows = np.ascontiguousarray(rows, '<f4')
    pairs = zip(rows, numbers.tolist())
    found = np.fromiter((zlib.crc32(row, number) for row, number in pairs), np.uint32, len(rows))
    return np.maximum(found, 1)


@contextlib.contextmanager
def _lock(path):
    """Keeps other processes from writing the file; a kill lets go of it."""
    held = os.open(f'{path}.crc', os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f'{path} is being written by another process; wait for it, or give another name.'
            ) from error
        yield
    finally:
        os.close(held)


def _write_empty(path, examples, classes):
    beside = f'{path}.tmp'
    empty = np.full((max(1, ENTRIES // classes), classes), np.nan, np.float32)
    with open(beside, 'wb') as file:  # Not mapped: where a disk is full, this is an error.
        form = {'descr': '<f4', 'fortran_order': False, 'shape': (examples, classes)}
        np.lib.format.write_array_header_1_0(file, form)
        for start in range(0, examples, len(empty)):
            file.write(empty[: examples - start].tobytes())
    os.replace(beside, path)
