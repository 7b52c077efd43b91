"""Predictions in Parquet files: number, class and confidence of each example, and what made them.

`mpl.predict --predictions` writes a folder of them. Each file has the examples of one piece of the
split, and is written whole, so that a stopped command resumes with the next piece; the pieces are
the same however many processes write them. The metadata of a file has a record: 'made_by' (see
provenance.py) or what else made it, and the SHA-256 of every column.
"""

import dataclasses
import functools
import hashlib
import io
import json
from collections.abc import Iterable, Iterator
from concurrent import futures
from typing import IO

import fsspec
import numpy as np
import pyarrow as pa
from etils import epath
from pyarrow import parquet

from mpl.data import selection
from mpl.models.network import Outputs
from mpl.run import provenance, records

PIECE = 1 << 18  # examples in a file, rounded to whole batches
RECORD, COLUMNS = b'mpl', 'sha256'
_ENCODING = {'number': 'DELTA_BINARY_PACKED', 'confidence': 'BYTE_STREAM_SPLIT'}


@dataclasses.dataclass(frozen=True)
class Pieces:
    """The files of a folder, of which one process writes some."""

    folder: epath.Path
    indices: np.ndarray  # int [n], ascending, of all examples of the split
    rows: int  # examples in a file
    record: dict  # of every file, without 'piece'
    missing: frozenset[int]  # the pieces to write
    kept: int  # pieces of this process that are there already

    def examples(self, piece: int) -> np.ndarray:
        """The indices of the examples of a piece."""
        return self.indices[piece * self.rows : (piece + 1) * self.rows]


def write(file: IO, schema: pa.Schema, tables: Iterable[pa.Table], record: dict) -> None:
    """Writes tables of a schema, and their record, as one Parquet file."""
    digests = [hashlib.sha256() for _ in schema]
    with parquet.ParquetWriter(
        file, schema, compression='zstd', use_dictionary=['class'], column_encoding=_ENCODING
    ) as writer:
        for table in _joined(schema, tables):
            _update(digests, table.columns)
            writer.write_table(table)
        sealed = records.seal(record | {COLUMNS: [digest.hexdigest() for digest in digests]})
        writer.add_key_value_metadata({RECORD: json.dumps(sealed).encode()})


def read(path: str, what: str) -> dict:
    """The record of a file, whose columns are compared with it.

    Args:
      path: of the file, on a disk or in a bucket.
      what: the kind of file, for the message: 'a shard of a selection'.

    Raises:
      ValueError: the file is of another kind, or was changed.
      RuntimeError: a package for files in that bucket is missing.
    """
    place, remedy = f'{path} is not {what}', 'write it again'
    try:
        with fsspec.open(path, 'rb') as opened, parquet.ParquetFile(opened) as file:
            metadata = file.metadata.metadata or {}
            text = metadata[RECORD].decode() if RECORD in metadata else ''
            digests = [hashlib.sha256() for _ in file.schema_arrow]
            for batch in file.iter_batches(PIECE):
                _update(digests, batch.columns)
    except FileNotFoundError:
        raise
    except ImportError as error:  # fsspec without the package of a bucket.
        raise RuntimeError(f'{path} cannot be read ({error}).') from error
    except Exception as error:  # Of a damaged file: pyarrow raises errors of many types.
        reason = str(error).splitlines()[0]
        raise ValueError(f'{place}, a Parquet file ({reason}); {remedy}.') from error
    record = records.loads(text, place, remedy)
    if record.pop(COLUMNS) != [digest.hexdigest() for digest in digests]:
        raise ValueError(f'{path} was changed after it was written; {remedy}.')
    return record


def open_pieces(
    folder: epath.Path,
    indices: np.ndarray,
    size: int,
    classes: int,
    made_by: dict,
    shard: tuple[int, int] = (0, 1),
) -> Pieces:
    """The files of a folder, which is created, and those that a process has to write.

    Files that are there are kept; damaged ones are written again.

    Args:
      folder: on a disk or in a bucket.
      indices: int [n], ascending, of all examples of the split.
      size: examples in a batch of the network.
      classes: K.
      made_by: the provenance of the predictions.
      shard: (i, n), for the i-th of n processes, from 0.

    Raises:
      ValueError: the folder has other predictions.
    """
    rows = size * max(1, PIECE // size)
    count = -(-len(indices) // rows)
    record = {'made_by': made_by, 'classes': classes, 'pieces': count}
    folder.mkdir(parents=True, exist_ok=True)
    missing = set()
    for piece in range(shard[0], count, shard[1]):
        path = folder / _name(piece)
        if not path.exists():
            missing.add(piece)
            continue
        try:
            there = read(str(path), 'predictions')
        except ValueError as error:
            print(f'{error} It is written again.')
            missing.add(piece)
            continue
        lines = provenance.differences(there['made_by'], made_by)
        if lines or there != record | {'made_by': there['made_by'], 'piece': piece}:
            raise ValueError(
                f'{path} holds predictions of {provenance.describe(there["made_by"])}, not of '
                f'{provenance.describe(made_by)} ({"; ".join(lines) or "cut into other pieces"}); '
                'give another folder, or delete this one.'
            )
    kept = len(range(shard[0], count, shard[1])) - len(missing)
    return Pieces(folder, indices, rows, record, frozenset(missing), kept)


def find_missing(pieces: Pieces) -> np.ndarray:
    """The indices of the examples of the pieces to write, ascending; prints how many are there."""
    found = [pieces.examples(piece) for piece in sorted(pieces.missing)]
    if kept := pieces.kept:
        print(f'{pieces.folder} has {kept:,} of these files already.')
    return np.concatenate([pieces.indices[:0], *found])


def store(
    pieces: Pieces, predicted: Iterator[tuple[list[str], np.ndarray, Outputs]]
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Yields the batches of `prediction.predict` and writes every piece that they complete."""
    waiting = []
    for names, indices, outputs in predicted:
        piece = int(np.searchsorted(pieces.indices, indices[0])) // pieces.rows
        if piece in pieces.missing:
            waiting.append(selection.predict([outputs.logits], indices))
            if sum(map(len, waiting)) == len(pieces.examples(piece)):
                content = io.BytesIO()
                write(content, selection.SCHEMA, waiting, pieces.record | {'piece': piece})
                records.write_bytes(pieces.folder / _name(piece), content.getvalue())
                waiting = []
        yield names, indices, outputs


def read_folder(folder: epath.Path) -> tuple[list[str], dict]:
    """The paths of the files of a folder, and their record, of which all but 'piece' is the same.

    Raises:
      ValueError: a file is damaged, of another network or split than the others, or missing.
    """
    found = sorted(str(path) for path in folder.glob('*.parquet'))
    if not found:
        raise ValueError(
            f'{folder} has no predictions; give a folder of mpl.predict --predictions.'
        )
    with futures.ThreadPoolExecutor() as executor:
        all_records = list(executor.map(functools.partial(read, what='predictions'), found))
    numbers = [record.pop('piece') for record in all_records]
    first = all_records[0]
    for path, record in zip(found, all_records):
        lines = provenance.differences(first['made_by'], record['made_by'])
        if lines or record | {'made_by': None} != first | {'made_by': None}:
            raise ValueError(
                f'{path} and {found[0]} are not of one network and split '
                f'({"; ".join(lines) or "they are cut into other pieces"}); delete one of them.'
            )
    if missing := sorted(set(range(first['pieces'])) - set(numbers)):
        raise ValueError(
            f'{folder} lacks {len(missing):,} of {first["pieces"]:,} files, such as '
            f'{_name(missing[0])}; run the mpl.predict of every shard to its end.'
        )
    if len(numbers) > first['pieces']:
        raise ValueError(f'{folder} has a file twice; delete the copy.')
    return found, first


def _name(piece):
    return f'{piece:06d}.parquet'


def _joined(schema, tables):
    """The tables with at least PIECE rows each but for the last: row groups of a useful size."""
    waiting, count = [schema.empty_table()], 0
    for table in tables:
        waiting.append(table)
        count += len(table)
        if count >= PIECE:
            yield pa.concat_tables(waiting)
            waiting, count = [schema.empty_table()], 0
    yield pa.concat_tables(waiting)


def _update(digests, columns):
    for digest, column in zip(digests, columns):
        values = column.to_numpy(zero_copy_only=False)
        digest.update(np.ascontiguousarray(values, values.dtype.newbyteorder('<')))
