"""Features of examples in npz files, with what made them, and which of them look alike."""

import contextlib
import json
import os
from collections.abc import Iterator
from typing import IO, NamedTuple

import numpy as np
from etils import epath

from mpl.data import selection
from mpl.data.splits import Split
from mpl.models.network import Outputs
from mpl.run import identity, provenance, records


class Features(NamedTuple):
    """What an npz file of `mpl.predict --features` has."""

    features: np.ndarray  # float32 [n, D]
    indices: np.ndarray  # int [n], of the examples in their pool
    made_by: dict
    path: str


def write(path: str, chunks: list[tuple[list[str], np.ndarray, Outputs]], made_by: dict) -> None:
    """Writes what `predict.predict` yields, whole: features, logits, names and numbers."""
    names, indices, outputs = zip(*chunks)
    with open_atomic(path, 'wb') as file:
        np.savez(
            file,
            features=np.concatenate([of.features for of in outputs]),
            logits=np.concatenate([of.logits for of in outputs]),
            names=np.concatenate([np.array(of) for of in names]),
            indices=np.concatenate(indices),
            made_by=json.dumps(records.seal(made_by)),
        )


def read(path: str) -> Features:
    """The features in a file.

    Raises:
      ValueError: the file is none, or was changed.
    """
    features, indices, text = read_arrays(
        path, ('features', 'indices', 'made_by'), 'a file of features'
    )
    made_by = json.loads(str(text))
    if not records.is_intact(made_by):
        raise ValueError(f'{path} was changed after it was written; write it anew.')
    return Features(features, indices, made_by, path)


def check(pool: Features, test: Features, data: dict, workdir: epath.Path) -> None:
    """Refuses features of the pool and of the test images that can not be compared.

    Args:
      pool: features of examples of the training pool.
      test: features of the test images.
      data: the record of the data of a run, with its split.
      workdir: of the run, for the message.

    Raises:
      ValueError: they are not of one network, or not of the run's data and split.
    """
    provenance.check_data(pool.made_by, data, pool.path, workdir)
    if test.made_by['pool'] != 'test':
        raise ValueError(
            f'{test.path} ({provenance.describe(test.made_by)}) has no test images; write it with '
            'mpl.predict --split=test.'
        )
    there = identity.index_record(test.made_by['data'], 'test')
    if lines := identity.differences(there, identity.index_record(data, 'test')):
        raise ValueError(
            f'{test.path} ({provenance.describe(test.made_by)}) is of other test images than those of the '
            f'run in {workdir} ({"; ".join(lines)}); give features of those.'
        )
    if lines := provenance.differences(
        *(features.made_by | {'pool': None, 'split': None} for features in (pool, test))
    ):
        raise ValueError(
            f'{pool.path} is of {provenance.describe(pool.made_by)} and {test.path} of '
            f'{provenance.describe(test.made_by)} ({"; ".join(lines)}); give features of one network with '
            'the same weights.'
        )


def duplicates(
    pool: Features, test: Features, similarity: float, split: Split, examples: int
) -> np.ndarray:
    """Which of the examples look like one of the test set, bool [N]; all others are False.

    Args:
      pool: features of all unlabeled examples.
      test: of the test images, by the same network.
      similarity: least cosine of the angle between features.
      split: with the unlabeled examples.
      examples: N.

    Raises:
      ValueError: an unlabeled example is not in the file.
    """
    without = np.setdiff1d(split.unlabeled, pool.indices)
    if len(without):
        raise ValueError(
            f'{pool.path} lacks {len(without):,} unlabeled examples, such as {without[0]}; write it with '
            'mpl.predict --split=unlabeled.'
        )
    found = np.zeros(examples, bool)
    found[pool.indices] = selection.near(pool.features, test.features, similarity)
    return found


def read_arrays(path: str, names: tuple[str, ...], what: str) -> list[np.ndarray]:
    """The arrays of these names in an npz file.

    Raises:
      ValueError: the file is not `what` it should be, or was damaged.
    """
    try:
        with np.load(path) as kept:
            return [kept[name] for name in names]
    except Exception as error:  # On damaged archives zipfile and numpy raise errors of many types.
        raise ValueError(
            f'{path} is not {what}, an npz file with {", ".join(names)} ({error}); see --help.'
        ) from error


@contextlib.contextmanager
def open_atomic(path: str, mode: str, **how) -> Iterator[IO]:
    """A file that takes its name once it is complete."""
    beside = f'{path}.tmp'
    try:
        with open(beside, mode, **how) as file:
            yield file
        os.replace(beside, path)
    except BaseException:
        os.remove(beside)
        raise
