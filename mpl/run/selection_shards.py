"""Shards of a selection, one per process, and their merge."""

import json
import os
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from etils import epath

from mpl.data import selection
from mpl.data.selection import Part, Rule
from mpl.data.splits import Split
from mpl.run import features, provenance, records
from mpl.run import rows as row_files


def write_part(path: str, part: Part, settings: dict) -> None:
    """Writes the result of a shard, atomically."""
    with features.open_atomic(path, 'wb') as file:
        np.savez(file, settings=json.dumps(records.seal(settings)), **part._asdict())


def read_part(path: str) -> tuple[Part, dict]:
    """The result of a shard, and its settings.

    Raises:
      ValueError: the file is not a shard, or was changed.
    """
    *part, text = features.read_arrays(path, (*Part._fields, 'settings'), 'a shard of a selection')
    return Part(*part), records.loads(str(text), f'{path} is not a shard', 'make it again')


class Inputs(NamedTuple):
    """The input files of a selection, checked against the run of its split."""

    files: list[row_files.Rows]
    pool: features.Features | None
    test: features.Features | None

    def made_by(self) -> dict:
        """The provenance of the files."""
        return {
            'logits': [rows.made_by for rows in self.files],
            'features': self.pool and self.pool.made_by,
            'test_features': self.test and self.test.made_by,
        }


def read_inputs(
    paths: list[str], pool: str | None, test: str | None, data: dict, workdir: epath.Path
) -> Inputs:
    """The input files of a selection.

    Args:
      paths: of files of logits.
      pool, test: of features files of the unlabeled and the test examples; None for both without.
      data: the record of the run's data and split.
      workdir: of the run, for messages.

    Raises:
      ValueError: a file is of another kind, or of other data or another split than the run.
    """
    files = [row_files.read(path) for path in paths]
    for path, rows in zip(paths, files):
        provenance.check_data(rows.made_by, data, path, workdir)
    if not pool:
        return Inputs(files, None, None)
    pool_features, test_features = features.read(pool), features.read(test)
    features.check(pool_features, test_features, data, workdir)
    return Inputs(files, pool_features, test_features)


def is_finished(output: str, settings: dict, inputs: Iterable[str | None]) -> bool:
    """Whether a shard is finished and newer than its input files; None is no file.

    Raises:
      ValueError: the file is a shard with other settings.
    """
    if not os.path.exists(output):
        return False
    if read_part(output)[1] != settings:
        raise ValueError(
            f'{output} is a shard of another selection; give another --output, or delete it.'
        )
    written = os.path.getmtime(output)
    return all(os.path.getmtime(path) <= written for path in filter(None, inputs))


def find(inputs: Inputs, split: Split, settings: dict) -> Part:
    """The best examples of the shard in the settings."""
    duplicates = None
    if inputs.pool is not None:
        examples = inputs.files[0].shape[0]
        pool, test, similarity = inputs.pool, inputs.test, settings['similarity']
        duplicates = features.duplicates(pool, test, similarity, split, examples)
    rule = Rule(**settings['rule'])
    candidates = np.unique(split.unlabeled)
    return selection.scan(inputs.files, candidates, rule, duplicates, tuple(settings['shard']))


def join(paths: list[str], hash: str) -> tuple[Part, dict]:
    """The merged shards, and the settings of the first.

    Raises:
      ValueError: shards of different selections, or a shard is missing or repeated.
    """
    parts, settings = zip(*map(read_part, paths))
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
    return selection.merge(parts, Rule(**first['rule'])), first


def selection_settings(settings: dict) -> dict:
    """The settings of a whole selection, the same for all of its shards."""
    return {key: value for key, value in settings.items() if key != 'shard'}
