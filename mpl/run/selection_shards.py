"""Shards of a selection, one per process, and their merge."""

import json
from typing import NamedTuple

import numpy as np

from mpl.data import selection
from mpl.data.selection import Part, Rule
from mpl.data.splits import Split
from mpl.run import features, logits, records


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
    settings = json.loads(str(text))
    if not records.is_intact(settings):
        raise ValueError(f'{path} was changed after it was written; make the shard again.')
    del settings[records.CHECKSUM]
    return Part(*part), settings


class Inputs(NamedTuple):
    """The input files of a selection, checked against the run of its split."""

    files: list[logits.Rows]
    pool: features.Features | None
    test: features.Features | None

    def made_by(self) -> dict:
        """The provenance of the files."""
        return {
            'logits': [rows.made_by for rows in self.files],
            'features': self.pool and self.pool.made_by,
            'test_features': self.test and self.test.made_by,
        }


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
