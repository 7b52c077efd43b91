"""Ranks predictions in Parquet files with DuckDB: on all cores, in a given memory, the rest on disk.

The files have the columns of selection.SCHEMA. The query is the rule of a selection in SQL; it is the
same for one file and for the files of many processes.
"""

import contextlib
import os
import re
from collections.abc import Sequence

import fsspec
import numpy as np
import pyarrow as pa
from pyarrow import parquet

from mpl.data.selection import Ranking, Rule
from mpl.parallel import processes

MEMORY = '3GB'  # of DuckDB; a few hundred MB more are in use outside of it
PER_THREAD = 125e6  # bytes
UNITS = ('bytes', 'KiB', 'MiB', 'GiB', 'TiB')  # of DuckDB's settings
CHUNK = 1 << 18  # rows of the result at a time


def rank(
    paths: Sequence[str],
    rule: Rule,
    candidates: np.ndarray,
    duplicates: np.ndarray | None,
    classes: int,
    folder: str,
    memory: str = MEMORY,
) -> Ranking:
    """The most confident candidates of each class; ties go to the smaller number.

    Args:
      paths: of Parquet files, on a disk or in a bucket; each example is in one of them at most.
      rule: of the selection.
      candidates: bool [N], which examples may be kept.
      duplicates: numbers of examples to drop, int64 [d]; None if the files have a column for that.
      classes: K.
      folder: an empty one for temporary files and the result.
      memory: the limit of DuckDB, such as '3GB'.

    Raises:
      ValueError: `memory` is no amount of memory.
      RuntimeError: memory or disk are too small.
    """
    import duckdb  # Here, since of all commands only a selection needs it.

    config = {
        'memory_limit': memory,
        'threads': 1,
        'temp_directory': os.path.join(folder, 'spilled'),
        'preserve_insertion_order': False,
    }
    check_memory(memory)
    connection = duckdb.connect(config=config)
    with contextlib.closing(connection):
        for scheme in {path.split('://')[0] for path in paths if '://' in path}:
            connection.register_filesystem(fsspec.filesystem(scheme))
        try:
            connection.execute(f'SET threads = {_count_threads(connection)}')
            return _rank(connection, paths, rule, candidates, duplicates, classes, folder)
        except (duckdb.OutOfMemoryException, duckdb.IOException) as error:
            reason = str(error).splitlines()[0]
            raise RuntimeError(
                f'DuckDB cannot rank the predictions ({reason}); give a larger --memory than {memory}, '
                'or an --output on a disk with more space.'
            ) from error


def check_memory(memory: str) -> None:
    """Raises ValueError for text that is no amount of memory."""
    if not re.fullmatch(r'\d+(\.\d+)? ?[KMGT]i?B', memory, re.IGNORECASE):
        raise ValueError(f'--memory is {memory!r}; give an amount such as 3GB.')


def _count_threads(connection):
    """One per core, but each with PER_THREAD of the memory, the least that DuckDB advises."""
    (limit,) = connection.execute("SELECT current_setting('memory_limit')").fetchone()
    number, unit = limit.split()  # '2.7 GiB'
    power = UNITS.index(unit) if unit in UNITS else 0
    return max(1, min(processes.count_cores(), int(float(number) * 1024**power / PER_THREAD)))


def _rank(connection, paths, rule, candidates, duplicates, classes, folder):
    execute, has_column = connection.execute, duplicates is None
    connection.read_parquet(list(paths)).create_view('files')
    # The shorter of two lists: the candidates, or all others.
    rare = 2 * np.count_nonzero(candidates) < len(candidates)
    listed = np.flatnonzero(candidates if rare else ~candidates)
    connection.register('listed', pa.table({'number': listed}))
    connection.register('dropped', pa.table({'number': [] if has_column else duplicates}))
    execute(
        f"""
        CREATE TEMP VIEW pool AS
        SELECT number, class, confidence,
            {'duplicate' if has_column else 'number IN (SELECT number FROM dropped)'} AS duplicate
        FROM files {'SEMI' if rare else 'ANTI'} JOIN listed USING (number)
        """
    )
    order = 'row_number() OVER (PARTITION BY class ORDER BY confidence DESC, number)'
    execute(
        f"""
        CREATE TEMP TABLE kept AS
        SELECT number, class, rank
        FROM (
            SELECT number, class, {order if rule.per_class else 1} AS rank
            FROM pool WHERE confidence >= $confidence AND NOT duplicate
        )
        WHERE rank <= $most
        """,
        {'confidence': rule.confidence, 'most': rule.per_class or 1},
    )
    counts = execute(
        """
        SELECT count(*), count(*) FILTER (confidence < $confidence),
            count(*) FILTER (confidence >= $confidence AND duplicate)
        FROM pool
        """,
        {'confidence': rule.confidence},
    ).fetchone()
    per_class = np.zeros(classes, np.int64)
    for label, count in execute('SELECT class, count(*) FROM kept GROUP BY class').fetchall():
        per_class[label] = count
    return Ranking(_write(execute, rule, folder), per_class, *counts)


def _write(execute, rule, folder):
    """Writes the kept numbers in ascending order, with their repeats, to a file that is mapped."""
    # A class of n examples is repeated as a whole, and then its most confident ones once more.
    copies = '$most // n + (rank <= $most % n)::BIGINT' if rule.balance else '1::BIGINT'
    given = {'most': rule.per_class} if rule.balance else {}
    target = os.path.join(folder, 'kept.parquet')
    execute(
        """
        CREATE TEMP VIEW counted AS
        SELECT * FROM kept JOIN (SELECT class, count(*) AS n FROM kept GROUP BY class) USING (class)
        """
    )
    (total,) = execute(f'SELECT coalesce(sum({copies}), 0) FROM counted', given).fetchone()
    quoted = target.replace("'", "''")
    execute(
        f"COPY (SELECT number, {copies} AS copies FROM counted ORDER BY number) TO '{quoted}' "
        '(FORMAT parquet)',
        given,
    )
    path = os.path.join(folder, 'kept.npy')
    numbers = np.lib.format.open_memmap(path, 'w+', np.int64, (int(total),))
    start = 0
    with parquet.ParquetFile(target) as file:
        for batch in file.iter_batches(CHUNK):
            number, copies = (batch.column(n).to_numpy() for n in range(2))
            repeated = np.repeat(number, copies)
            numbers[start : start + len(repeated)] = repeated
            start += len(repeated)
    numbers.flush()
    return numbers
