"""A teacher that is several trained networks: the mean of their probabilities, from files of logits.

The files are written by `mpl.predict --split=train --logits=FILE`, by runs of the same data and split
as the run that they teach. The mean is that of mpl.select.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from mpl.data import selection
from mpl.models.network import Outputs
from mpl.run import paths, provenance, row_files
from mpl.run.row_files import Rows

SMALLEST = 1e-30  # probability, whose logarithm is finite


def read(given: Sequence[str], data: dict, indices: np.ndarray, classes: int) -> list[Rows]:
    """The files, checked.

    Args:
      given: their paths.
      data: the record of the data and split of the run that they teach.
      indices: of the examples that it trains on, int [n].
      classes: of that run.

    Raises:
      ValueError: a file is missing, of other data or another split, or lacks examples, or two are
        of one network.
    """
    files = []
    for path in given:
        local = str(paths.parse_local(path, 'teacher.logits'))
        try:
            rows = row_files.read(local)
        except OSError as error:
            raise ValueError(
                f'teacher.logits {path} cannot be read ({error}); write it with mpl.predict '
                '--split=train --logits.'
            ) from error
        provenance.check_data(rows.made_by, data, path, 'this run')
        lacking = len(row_files.missing(rows, indices))
        if lacking or rows.shape[1] != classes:
            raise ValueError(
                f'teacher.logits {path} has {rows.shape[1]} classes and lacks {lacking:,} of the '
                f'{len(indices):,} training examples of this run, which has {classes} classes; write it '
                'with mpl.predict --split=train --logits.'
            )
        files.append(rows)
    provenance.check_distinct((path, rows.made_by) for path, rows in zip(given, files))
    return files


def describe(files: Sequence[Rows], data: dict) -> dict:
    """The provenance of their mean."""
    records = [rows.made_by for rows in files]
    return {
        'workdir': ', '.join(record['workdir'] for record in records),
        'config': [record['config'] for record in records],
        'state': [record['state'] for record in records],
        'network': 'mean of ' + ', '.join(record['network'] for record in records),
        'pool': 'train',
        'split': 'train',
        'images': None,
        'data': data,
    }


def mean(
    files: Sequence[Rows], indices: np.ndarray, size: int
) -> Iterator[tuple[list[str], np.ndarray, Outputs]]:
    """Chunks of up to `size` examples: names, indices, and the logarithms of their mean probabilities."""
    for start in range(0, len(indices), size):
        chunk = indices[start : start + size]
        probability, _ = selection.mean_probability([rows[chunk] for rows in files])
        logits = np.log(np.maximum(probability, SMALLEST))
        yield [f'example {index}' for index in chunk], chunk, Outputs(None, logits)
