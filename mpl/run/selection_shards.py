"""The inputs of a selection: logits, one shard of them per process, or predictions; and the ranking."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath

from mpl.data import selection
from mpl.data.splits import Split
from mpl.run import features, prediction_files, provenance, records, row_files

PART = 'a shard of a selection'


class Inputs(NamedTuple):
    """The input files of a selection, checked against the run of its split."""

    files: list[row_files.Rows]
    predictions: tuple[list[str], dict] | None  # paths and record, in place of logits
    pool: features.Features | None
    test: features.Features | None

    @property
    def classes(self) -> int:
        return self.predictions[1]['classes'] if self.predictions else self.files[0].shape[1]

    def describe(self) -> str:
        """Every file and what made it, a line each."""
        files = [(file.path, file.made_by) for file in (*self.files, self.pool, self.test) if file]
        if self.predictions:
            paths, record = self.predictions
            files = [(os.path.dirname(paths[0]), record['made_by']), *files]
        return '\n'.join(f'{path}: {provenance.describe(made_by)}' for path, made_by in files)

    def made_by(self) -> dict:
        """The provenance of the files."""
        return {
            'logits': [rows.made_by for rows in self.files],
            'predictions': self.predictions and self.predictions[1]['made_by'],
            'features': self.pool and self.pool.made_by,
            'test_features': self.test and self.test.made_by,
        }


def read_inputs(
    paths: list[str],
    folder: str | None,
    pool: str | None,
    test: str | None,
    data: dict,
    workdir: epath.Path,
) -> Inputs:
    """The input files of a selection.

    Args:
      paths: of files of logits; empty with a folder.
      folder: of predictions; None with logits.
      pool, test: of features files of the unlabeled and the test examples; None for both without.
      data: the record of the run's data and split.
      workdir: of the run, for messages.

    Raises:
      ValueError: a file is of another kind, or of other data or another split than the run, or two
        are of one network.
    """
    files = [row_files.read(path) for path in paths]
    for path, rows in zip(paths, files):
        provenance.check_data(rows.made_by, data, path, workdir)
    provenance.check_distinct((path, rows.made_by) for path, rows in zip(paths, files))
    predictions = folder and prediction_files.read_folder(epath.Path(folder))
    if predictions:
        provenance.check_data(predictions[1]['made_by'], data, folder, workdir)
    if not pool:
        return Inputs(files, predictions, None, None)
    pool_features, test_features = features.read(pool), features.read(test)
    features.check(pool_features, test_features, data, workdir)
    return Inputs(files, predictions, pool_features, test_features)


def is_finished(output: str, settings: dict, inputs: Iterable[str | None]) -> bool:
    """Whether a shard is finished and newer than its input files; None is no file.

    Raises:
      ValueError: the file is a shard with other settings.
    """
    if not os.path.exists(output):
        return False
    if prediction_files.read(output, PART) != settings:
        raise ValueError(
            f'{output} is a shard of another selection; give another --output, or delete it.'
        )
    written = os.path.getmtime(output)
    return all(os.path.getmtime(path) <= written for path in filter(None, inputs))


def find_duplicates(inputs: Inputs, split: Split, similarity: float, examples: int) -> np.ndarray:
    """Which of all examples are near-duplicates of a test image, bool [N]; none without features."""
    if inputs.pool is None:
        return np.zeros(examples, bool)
    return features.duplicates(inputs.pool, inputs.test, similarity, split, examples)


def write_part(
    path: str,
    files: Sequence[row_files.Rows],
    candidates: np.ndarray,
    duplicate: np.ndarray | None,
    settings: dict,
) -> None:
    """Writes the predictions of a shard's candidates, atomically.

    Args:
      path: of the Parquet file.
      files: the logits of each network.
      candidates: bool [N], which examples may be kept.
      duplicate: bool [N], the examples to drop as duplicates; None for none.
      settings: of the selection; 'shard' is (i, n).
    """
    tables = selection.score(files, candidates, duplicate, tuple(settings['shard']))
    with records.open_atomic(Path(path)) as file:
        prediction_files.write(file, selection.WITH_DUPLICATES, tables, settings)


def join(paths: list[str], hash: str) -> dict:
    """The settings of the first of all shards of a selection.

    Raises:
      ValueError: shards of different selections, or a shard is missing or repeated.
    """
    settings = [prediction_files.read(path, PART) for path in paths]
    first = settings[0]
    for path, own in zip(paths, settings):
        if selection_settings(own) != selection_settings(first) or own['split'] != hash:
            raise ValueError(
                f'{path} is of another selection than {paths[0]} or of another split than the '
                "run's; give shards made with the same arguments."
            )
    count = first['shard'][1]
    indices = sorted(own['shard'][0] for own in settings)
    if indices != list(range(count)):
        raise ValueError(f'The files are the shards {indices} of {count}; give each once.')
    return first


def selection_settings(settings: dict) -> dict:
    """The settings of a whole selection, the same for all of its shards."""
    return {key: value for key, value in settings.items() if key != 'shard'}


@contextlib.contextmanager
def open_scratch(output: str) -> Iterator[str]:
    """An empty folder beside a file to write, removed at the end; what a kill has left is removed."""
    folder = f'{output}.ranking'
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
