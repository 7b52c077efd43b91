"""Logits or features of the examples of a pool in one file, written row by row.

<path> has [N, columns] in numpy's format, logits as float32 and features as float16; rows that are
not written are NaN. <path>.json has the provenance (see provenance.py). <path>.crc has a checksum
per row, uint32 [N], little-endian: the CRC-32 of its bytes, initialized with its index, so that
changed, truncated or exchanged rows are detected when they are read; 0 for rows that are not
written. The checksum is written after the row, so that writing can be resumed after a kill at any
moment.
"""

import contextlib
import dataclasses
import fcntl
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from mpl.models.network import Outputs
from mpl.run import provenance, records

CHUNK_VALUES = 1 << 22  # values in memory at a time


class Kind(NamedTuple):
    """What the rows are."""

    name: str  # of the outputs of a network, and of the option of mpl.predict
    dtype: str
    columns: str  # what a column is


LOGITS = Kind('logits', '<f4', 'classes')
FEATURES = Kind('features', '<f2', 'dimensions')


@dataclasses.dataclass(frozen=True)
class Rows:
    """Memory-mapped rows; `rows[indices]` reads some and verifies their checksums."""

    path: str
    kind: Kind
    values: np.memmap  # [N, columns]
    checksums: np.memmap  # uint32 [N]
    made_by: dict

    @property
    def shape(self) -> tuple[int, int]:
        return self.values.shape

    def __getitem__(self, indices: np.ndarray) -> np.ndarray:
        """The rows of these examples, [*indices.shape, columns]; NaN for rows that are not written.

        Raises:
          ValueError: the checksum of a row does not match.
        """
        flat = np.asarray(indices).ravel()
        found, expected = self.values[flat], self.checksums[flat]
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
def open_rows(
    path: str, examples: int, columns: int, made_by: dict, kind: Kind = LOGITS
) -> Iterator[Rows]:
    """Rows [examples, columns] to write, in a new or an existing file.

    A new file has its full size at once: 5.1 GB for the logits of 1.28 million examples of 1,000
    classes.

    Args:
      path: of the file.
      examples: of the pool.
      columns: classes, or dimensions of the features.
      made_by: the provenance of the rows.
      kind: of the rows.

    Raises:
      ValueError: the file has other rows, or another process is writing it.
      OSError: the disk is full.
    """
    if os.path.exists(path):
        read(path, kind)  # Raises before anything is written.
    with _lock(path):
        if not os.path.exists(path):
            with open(f'{path}.crc', 'r+b') as file:  # The locked file.
                file.truncate(0)
                file.write(bytes(4 * examples))
            record = {'made_by': made_by, 'examples': examples, kind.columns: columns}
            records.write(epath.Path(f'{path}.json'), record)
            _write_empty(
                path, examples, columns, kind
            )  # Last, so that an existing file is complete.
        rows = read(path, kind, 'r+')
        if lines := provenance.differences(rows.made_by, made_by):
            raise ValueError(
                f'{path} holds {kind.name} of {provenance.describe(rows.made_by)}, not of '
                f'{provenance.describe(made_by)} ({"; ".join(lines)}); give another name, or delete it.'
            )
        yield rows


def read(path: str, kind: Kind = LOGITS, mode: str = 'r') -> Rows:
    """The rows of a file; they are read and verified when they are indexed.

    Raises:
      ValueError: the file, or one of those beside it, is of another kind or was changed.
    """
    rows = checksums = None
    with contextlib.suppress(ValueError, EOFError):  # numpy's message is about pickles.
        rows = np.load(path, mmap_mode=mode, allow_pickle=False)
    if not isinstance(rows, np.memmap) or rows.ndim != 2 or rows.dtype != np.dtype(kind.dtype):
        raise ValueError(
            f'{path} does not hold {kind.name}, {np.dtype(kind.dtype)} [examples, {kind.columns}] as '
            f'mpl.predict --{kind.name} writes them; give another file.'
        )
    beside = epath.Path(f'{path}.json')
    if not beside.exists():
        raise ValueError(
            f'{path} does not record its provenance ({beside} is missing); write it with mpl.predict '
            f'--{kind.name}, or keep the files together.'
        )
    record = records.read(beside, f'the provenance of {path}', 'write it again elsewhere')
    with contextlib.suppress(ValueError, OSError):
        checksums = np.memmap(f'{path}.crc', '<u4', mode)
    if checksums is None or not (record['examples'],) == checksums.shape == rows.shape[:1]:
        raise ValueError(
            f'{path} has not one row, and {path}.crc not one checksum, for each of '
            f'{record["examples"]:,} examples: one of them was truncated or exchanged; write it again.'
        )
    if record[kind.columns] != rows.shape[1]:
        raise ValueError(
            f'{path} has {rows.shape[1]} {kind.columns}, but was written with '
            f'{record[kind.columns]}; write it again.'
        )
    return Rows(path, kind, rows, checksums, record['made_by'])


def missing(rows: Rows, indices: np.ndarray) -> np.ndarray:
    """Those of the indices [n] whose row is not written or does not match its checksum."""
    size = max(1, CHUNK_VALUES // rows.shape[1])
    chunks = (indices[start : start + size] for start in range(0, len(indices), size))
    return np.concatenate(
        [chunk[rows.checksums[chunk] != _checksums(rows.values[chunk], chunk)] for chunk in chunks]
        or [np.zeros(0, np.int64)]
    )


def missing_in_any(files: Sequence[Rows], indices: np.ndarray) -> np.ndarray:
    """Those of the indices [n] that are missing in at least one of the files, ascending."""
    found = np.zeros(0, np.int64)
    for rows in files:
        found = np.union1d(found, missing(rows, indices))
    return found


def store(
    files: Sequence[Rows], predicted: Iterator[tuple[list[str], np.ndarray, Outputs]]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Yields the chunks of `prediction.predict` after writing their rows to each of the files.

    Raises:
      FloatingPointError: a value is not finite, or too large for the type of the file.
    """
    for names, indices, outputs in predicted:
        check_finite(names, outputs)
        for rows in files:
            values = _convert(getattr(outputs, rows.kind.name), names, rows.kind)
            rows.values[indices] = values
            rows.checksums[indices] = _checksums(values, indices)
        yield names, indices, outputs
    for rows in files:
        rows.values.flush()
        rows.checksums.flush()


def _convert(values, names, kind):
    with np.errstate(over='ignore'):
        converted = np.asarray(values).astype(kind.dtype)
    if not np.all(np.isfinite(converted)):
        raise FloatingPointError(
            f'The network gives {kind.name} up to {np.max(np.abs(values)):.3g}, above the largest '
            f'{np.dtype(kind.dtype)}, for one of {names[0]} to {names[-1]}; train it with a lower '
            'learning rate or with normalization.'
        )
    return converted


def check_finite(names: list[str], outputs: Outputs) -> None:
    """Raises FloatingPointError if a logit or a feature of the examples `names` is not finite."""
    for what, values in (('logits', outputs.logits), ('features', outputs.features)):
        if values is not None and not np.all(np.isfinite(values)):
            raise FloatingPointError(
                f'The network gives {what} that are not finite, for one of {names[0]} to {names[-1]}.'
            )


def _checksums(rows, indices):
    """Checksums uint32 [n] of rows [n, columns] with indices [n]; never 0."""
    rows = np.ascontiguousarray(rows, rows.dtype.newbyteorder('<'))
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


def _write_empty(path, examples, columns, kind):
    temporary = f'{path}.tmp'
    empty = np.full((max(1, CHUNK_VALUES // columns), columns), np.nan, kind.dtype)
    with open(temporary, 'wb') as file:  # Not memory-mapped, so that a full disk raises OSError.
        form = {'descr': kind.dtype, 'fortran_order': False, 'shape': (examples, columns)}
        np.lib.format.write_array_header_1_0(file, form)
        for start in range(0, examples, len(empty)):
            file.write(empty[: examples - start].tobytes())
    os.replace(temporary, path)
