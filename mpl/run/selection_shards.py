"""Shares of a selection, one for each process, and joined to one."""

import json
from typing import NamedTuple

import numpy as np

from mpl.data import selection
from mpl.data.selection import Part, Rule
from mpl.data.splits import Split
from mpl.run import features, logits, records


def write_part(path: str, part: Part, settings: dict) -> None:
    """Writes what a share came to, whole."""
    with features.open_atomic(path, 'wb') as file:
        np.savez(file, settings=json.dumps(records.seal(settings)), **part._asdict())


def read_part(path: str) -> tuple[Part, dict]:
    """What a share came to, and the settings it was made with.

    Raises:
      ValueError: the file is none.
    """
    *part, text = features.read_arrays(path, (*Part._fields, 'settings'), 'a share of a selection')
    settings = json.loads(str(text))
    if not records.is_intact(settings):
        raise ValueError(f'{path} was changed after it was written; make the share anew.')
    del settings[records.CHECKSUM]
    return Part(*part), settings


class Inputs(NamedTuple):
    """The files that a selection reads, checked against the run whose split it is."""

    files: list[logits.Rows]
    pool: features.Features | None
    test: features.Features | None

    def made_by(self) -> dict:
        """What made them."""
        return {
            'logits': [rows.made_by for rows in self.files],
            'features': self.pool and self.pool.made_by,
            'test_features': self.test and self.test.made_by,
        }


def find(inputs: Inputs, split: Split, settings: dict) -> Part:
    """The best examples of the share that the settings name."""
    copied = None
    if inputs.pool is not None:
        examples = inputs.files[0].shape[0]
        pool, test, similarity = inputs.pool, inputs.test, settings['similarity']
        copied = features.duplicates(pool, test, similarity, split, examples)
    rule = Rule(**settings['rule'])
    candidates = np.unique(split.unlabeled)
    return selection.scan(inputs.files, candidates, rule, copied, tuple(settings['shard']))


def join(paths: list[str], hash: str) -> tuple[Part, dict]:
    """The parts as one, and their settings.

    Raises:
      ValueError: they are of different selections, or one is missing or there twice.
    """
    parts, settings = zip(*map(read_part, paths))
    first = settings[0]
    for path, own in zip(paths, settings):
        if selection_settings(own) != selection_settings(first) or own['split'] != hash:
            raise ValueError(
                f'{path} is of another selection than {paths[0]} or of another split than the '
                "run's; give parts made with the same arguments."
            )
    count = first['shard'][1]
    shares = sorted(own['shard'][0] for own in settings)
    if shares != list(range(count)):
        raise ValueError(f'The parts are the shares {shares} of {count}; give each once.')
    return selection.merge(parts, Rule(**first['rule'])), first


def selection_settings(settings: dict) -> dict:
    """What a whole selection is a function of: the settings of any of its shares."""
    return {key: value for key, value in settings.items() if key != 'shard'}
