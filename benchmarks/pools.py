"""Selection from a pool of hundreds of millions of images: python -m benchmarks.pools

Predictions of --examples images are drawn, with classes of unequal size and ties, and written as
mpl.predict --predictions writes them. Then, by the code behind mpl.select and mpl.train: the best
--per_class images of each of --classes are selected (Noisy Student, arXiv 1911.04252, keeps at most
130,000 of each of 1,000 classes from 300 million), the split is written and read again, and batches
are drawn from it. Prints a table with the peak of the memory of the process so far, in which mapped
files count, and writes JSON. --folder has all temporary files.
"""

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from etils import epath
from tabulate import tabulate

from mpl.data import ranking, selection, splits, stream
from mpl.data.selection import Rule
from mpl.run import prediction_files, split_files

Result = TypeVar('Result')
MADE_BY = {
    'workdir': '', 'config': '', 'state': 0, 'network': 'student', 'pool': 'train',
    'split': 'unlabeled', 'images': None, 'data': {'classes': [], 'parts': {}},
}  # fmt: skip


def draw(first: int, last: int, classes: int) -> pa.Table:
    """Predictions of the examples from `first` to `last`; confidences in steps of 2^-24 have ties."""
    random = np.random.default_rng([0, first])
    size = last - first
    label = (classes * random.random(size) ** 2).astype(np.int32)
    confidence = 1 - random.random(size, np.float32) ** 3
    return pa.table((np.arange(first, last), label, confidence.astype(float)), selection.SCHEMA)


def write(folder: epath.Path, examples: int, classes: int) -> None:
    """Writes the predictions of a pool as mpl.predict does."""
    starts = range(0, examples, prediction_files.PIECE)
    record = {'made_by': MADE_BY, 'classes': classes, 'pieces': len(starts)}
    for piece, start in enumerate(starts):
        table = draw(start, min(start + prediction_files.PIECE, examples), classes)
        with (folder / f'{piece:06d}.parquet').open('wb') as file:
            prediction_files.write(file, selection.SCHEMA, [table], record | {'piece': piece})


def measure(
    table: list[dict], what: str, images: int, work: Callable[[], Result], times: int = 1
) -> Result:
    """The result of the work; appends a row to the table, with seconds of one of `times`."""
    wall, processor = time.perf_counter(), time.process_time()
    for _ in range(times):
        result = work()
    table.append(
        {
            'what': what,
            'images': images,
            'wall_s': (time.perf_counter() - wall) / times,
            'processor_s': (time.process_time() - processor) / times,
            'peak_gib': resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        }
    )
    return result


def run(
    examples: int, classes: int, per_class: int, batch: int, memory: str, folder: Path
) -> list[dict]:
    """The rows of the table."""
    table, pool = [], epath.Path(folder / 'predictions')
    pool.mkdir()
    measure(table, 'write predictions', examples, lambda: write(pool, examples, classes))
    paths, _ = measure(table, 'verify them', examples, lambda: prediction_files.read_folder(pool))
    rule, everything = Rule(per_class=per_class), np.ones(examples, bool)
    dropped, scratch = np.arange(0, examples, 10_007), str(folder)
    found = measure(
        table,
        'rank them',
        examples,
        lambda: ranking.rank(paths, rule, everything, dropped, classes, scratch, memory),
    )
    part = {'examples': examples, 'names': '', 'labels': '', 'pixels': {}}
    data, path = {'classes': [], 'parts': {'train': part}}, epath.Path(folder / 'selected.json')
    none, kept = np.zeros(0, np.int64), len(found.numbers)
    measure(
        table,
        'write the split',
        kept,
        lambda: split_files.write(path, splits.from_indices(none, found.numbers, none), data, {}),
    )
    split, _ = measure(table, 'read the split', kept, lambda: split_files.read(path, data))
    steps = iter(range(10**6, 10**6 + 20))
    measure(
        table,
        'draw a batch of it',
        batch,
        lambda: stream.sample(0, 'unlabeled', next(steps), batch, split.unlabeled),
        times=20,
    )
    assert np.all(found.per_class <= per_class) and kept == found.per_class.sum()
    return table


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--examples', type=int, default=300_000_000)
    parser.add_argument('--classes', type=int, default=1000)
    parser.add_argument('--per_class', type=int, default=130_000)
    parser.add_argument('--batch', type=int, default=4096)
    parser.add_argument('--memory', default=ranking.MEMORY, help='the limit of DuckDB')
    parser.add_argument('--folder', help='for temporary files; default: that of the system')
    parser.add_argument('--json', default='pools.json')
    given = vars(parser.parse_args())
    path, parent = Path(given.pop('json')), given.pop('folder')
    with tempfile.TemporaryDirectory(dir=parent) as folder:
        table = run(folder=Path(folder), **given)
    path.write_text(json.dumps(given | {'rows_of_table': table}, indent=2) + '\n', encoding='utf-8')
    print(tabulate(table, headers='keys', floatfmt=',.3g', intfmt=','))


if __name__ == '__main__':
    main()
