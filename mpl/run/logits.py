"""Logits of the examples of a pool in one file, written row by row.

<path> has float32 [N, K] in numpy's format; rows that are not written are NaN. <path>.json has the
provenance (see provenance.py). <path>.crc has a checksum per row, uint32 [N], little-endian: the
CRC-32 of its bytes, initialized with its index, so that changed, truncated or exchanged rows are
detected when they are read; 0 for rows that are not written. The checksum is written after the row,
so that writing can be resumed after a kill at any moment.
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

CHUNK_VALUES = 1 << 22  # logits in memory at a time


@dataclasses.dataclass(frozen=True)
class Rows:
    """Memory-mapped logits; `rows[indices]` reads rows and verifies their checksums."""

    path: str
    logits: np.memmap  # float32 [N, K]
    checksums: np.memmap  # uint32 [N]
    made_by: dict

    @property
    def shape(self) -> tuple[int, int]:
        return self.logits.shape

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """The rows of these examples, float32 [*indices.shape, K]; NaN for rows that are not written.

        Raises:
          ValueError: the checksum of a row does not match.
        """
        flat = np.asarray(indices).ravel()
        found, expected = self.logits[flat], self.checksums[flat]
        found[expected == 0] = np.nan
        changed = flat[(expected != 0) & (expected != _checksums(found, flat))]
        if len(changed):
            raise ValueError(
                f'{self.path} has {len(changed)} rows that are not as they were written, the first of '
                f'example {changed[0]} (their checksums do not match); run the command that wrote it '
                'again, which computes them again.'
            )
        return found.reshape(*np.shape(indices), -1)


@contextlib.contextmanager
def open_rows(path: str, examples: int, classes: int, made_by: dict) -> Iterator[Rows]:
    """Logits [examples, classes] to write, in a new or an existing file.

    A new file has its full size at once: 5.1 GB for 1.28 million examples of 1,000 classes.

    Args:
      path: of the file.
      examples, classes: of the pool.
      made_by: the provenance of the logits.

    Raises:
      ValueError: the file has other logits, or another process is writing it.
      OSError: the disk is full.
    """
    if os.path.exists(path):
        read(path)  # Raises before anything is written.
    with _lock(path):
        if not os.path.exists(path):
            with open(f'{path}.crc', 'r+b') as file:  # The locked file.
                file.truncate(0)
                file.write(bytes(4 * examples))
            record = {'made_by': made_by, 'examples': examples, 'classes': classes}
            records.write(epath.Path(f'{path}.json'), record)
            _write_empty(path, examples, classes)  # Last, so that an existing file is complete.
        rows = read(path, 'r+')
        if lines := provenance.differences(rows.made_by, made_by):
            raise ValueError(
                f'{path} holds logits of {provenance.describe(rows.made_by)}, not of '
                f'{provenance.describe(made_by)} ({"; ".join(lines)}); give another name, or delete it.'
            )
        yield rows


def read(path: str, mode: str = 'r') -> Rows:
    """The logits in a file; rows are read and verified when they are indexed.

    Raises:
      ValueError: the file, or one of those beside it, is of another kind or was changed.
    """
    rows = checksums = None
    with contextlib.suppress(ValueError, EOFError):  # numpy's message is about pickles.
        rows = np.load(path, mmap_mode=mode, allow_pickle=False)
    if not isinstance(rows, np.memmap) or rows.ndim != 2 or rows.dtype != np.float32:
        raise ValueError(
            f'{path} does not hold logits, float32 [examples, classes] as mpl.predict --logits '
            'writes them; give another file.'
        )
    beside = epath.Path(f'{path}.json')
    if not beside.exists():
        raise ValueError(
            f'{path} does not record its provenance ({beside} is missing); write it with mpl.predict '
            '--logits, or keep the files together.'
        )
    record = records.read(beside, f'the provenance of {path}', 'write it again elsewhere')
    with contextlib.suppress(ValueError, OSError):
        checksums = np.memmap(f'{path}.crc', '<u4', mode)
    if checksums is None or not (record['examples'],) == checksums.shape == rows.shape[:1]:
        raise ValueError(
            f'{path} has not one row, and {path}.crc not one checksum, for each of '
            f'{record["examples"]:,} examples: one of them was truncated or exchanged; write it again.'
        )
    if record['classes'] != rows.shape[1]:
        raise ValueError(
            f'{path} has {rows.shape[1]} classes, but was written with {record["classes"]}; write it '
            'again.'
        )
    return Rows(path, rows, checksums, record['made_by'])


def missing(rows: Rows, indices: np.ndarray) -> np.ndarray:
    """Those of the indices [n] whose row is not written or does not match its checksum."""
    size = max(1, CHUNK_VALUES // rows.shape[1])
    chunks = (indices[start : start + size] for start in range(0, len(indices), size))
    return np.concatenate(
        [chunk[rows.checksums[chunk] != _checksums(rows.logits[chunk], chunk)] for chunk in chunks]
        or [np.zeros(0, np.int64)]
    )


def store(
    rows: Rows, predicted: Iterator[tuple[list[str], np.ndarray, Outputs]]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Yields the chunks of `prediction.predict` after writing their rows.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    for names, indices, outputs in predicted:
        check_finite(names, outputs)
        rows.logits[indices] = outputs.logits
        rows.checksums[indices] = _checksums(outputs.logits, indices)
        yield names, indices, outputs
    rows.logits.flush()
    rows.checksums.flush()


def check_finite(names: list[str], outputs: Outputs) -> None:
    """Raises FloatingPointError if a logit or a feature of the examples `names` is not finite."""
    for what, values in (('logits', outputs.logits), ('features', outputs.features)):
        if values is not None and not np.all(np.isfinite(values)):
            raise FloatingPointError(
                f'The network gives {what} that are not finite, for one of {names[0]} to {names[-1]}.'
            )


def _checksums(rows, indices):
    """Checksums uint32 [n] of rows float32 [n, K] with indices [n]; never 0."""
    rows = np.ascontiguousarray(rows, '<f4')
    pairs = zip(rows, indices.tolist())
    found = np.fromiter((zlib.crc32(row, index) for row, index in pairs), np.uint32, len(rows))
    return np.maximum(found, 1)


@contextlib.contextmanager
def _lock(path):
    """Holds an exclusive lock on the file, which a kill releases."""
    descriptor = os.open(f'{path}.crc', os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f'{path} is being written by another process; wait for it, or give another name.'
            ) from error
        yield
    finally:
        os.close(descriptor)


def _write_empty(path, examples, classes):
    temporary = f'{path}.tmp'
    empty = np.full((max(1, CHUNK_VALUES // classes), classes), np.nan, np.float32)
    with open(temporary, 'wb') as file:  # Not memory-mapped, so that a full disk raises OSError.
        form = {'descr': '<f4', 'fortran_order': False, 'shape': (examples, classes)}
        np.lib.format.write_array_header_1_0(file, form)
        for start in range(0, examples, len(empty)):
            file.write(empty[: examples - start].tobytes())
    os.replace(temporary, path)
