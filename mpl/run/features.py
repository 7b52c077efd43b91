"""Features of examples in npz files with their provenance, and near-duplicates among them."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath

from mpl.data import selection
from mpl.data.splits import Split
from mpl.models.network import Outputs
from mpl.run import identity, provenance, records


class Features(NamedTuple):
    """The content of an npz file of `mpl.predict --features`."""

    features: np.ndarray  # float32 [n, D]
    indices: np.ndarray  # int [n], into the pool
    made_by: dict
    path: str


def write(path: str, chunks: list[tuple[list[str], np.ndarray, Outputs]], made_by: dict) -> None:
    """Writes what `prediction.predict` yields, atomically: features, logits, names and indices."""
    names, indices, outputs = zip(*chunks)
    with records.open_atomic(Path(path)) as file:
        np.savez(
            file,
            features=np.concatenate([chunk.features for chunk in outputs]),
            logits=np.concatenate([chunk.logits for chunk in outputs]),
            names=np.concatenate([np.array(chunk) for chunk in names]),
            indices=np.concatenate(indices),
            made_by=json.dumps(records.seal(made_by)),
        )


def read(path: str) -> Features:
    """The features in a file.

    Raises:
      ValueError: the file is not a features file, or was changed.
    """
    features, indices, text = read_arrays(
        path, ('features', 'indices', 'made_by'), 'a file of features'
    )
    made_by = records.loads(str(text), f'{path} is not a file of features', 'write it again')
    return Features(features, indices, made_by, path)


def check(pool: Features, test: Features, data: dict, workdir: epath.Path) -> None:
    """Refuses features of the pool and of the test images that cannot be compared.

    Args:
      pool: of examples of the training pool.
      test: of the test images.
      data: the record of a run's data and split.
      workdir: of the run, for the message.

    Raises:
      ValueError: they are of different networks, or of other data or another split than the run.
    """
    provenance.check_data(pool.made_by, data, pool.path, workdir)
    if test.made_by['pool'] != 'test':
        raise ValueError(
            f'{test.path} ({provenance.describe(test.made_by)}) has no test images; write it with '
            'mpl.predict --split=test.'
        )
    record = identity.index_record(test.made_by['data'], 'test')
    if lines := identity.differences(record, identity.index_record(data, 'test')):
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
    """Which unlabeled examples are near-duplicates of a test image, bool [N]; other examples are False.

    Args:
      pool: features of all unlabeled examples.
      test: of the test images, by the same network.
      similarity: minimum cosine similarity of the features.
      split: with the indices of the unlabeled examples.
      examples: N, the size of the pool.

    Raises:
      ValueError: an unlabeled example is not in the file.
    """
    missing = np.setdiff1d(split.unlabeled, pool.indices)
    if len(missing):
        raise ValueError(
            f'{pool.path} lacks {len(missing):,} unlabeled examples, such as {missing[0]}; write it with '
            'mpl.predict --split=unlabeled.'
        )
    found = np.zeros(examples, bool)
    found[pool.indices] = selection.near(pool.features, test.features, similarity)
    return found


def read_arrays(path: str, names: tuple[str, ...], what: str) -> list[np.ndarray]:
    """The arrays of these names in an npz file.

    Raises:
      ValueError: the file lacks one of them or is damaged; `what` names its kind in the message.
    """
    try:
        with np.load(path) as file:
            return [file[name] for name in names]
    except Exception as error:  # For damaged archives zipfile and numpy raise errors of many types.
        raise ValueError(
            f'{path} is not {what}, an npz file with {", ".join(names)} ({error}); see --help.'
        ) from error
