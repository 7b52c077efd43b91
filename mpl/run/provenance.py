"""The provenance of a derived file: the run, its weights, the network, and the examples.

The record is a dict: 'workdir' (path of the run, for readers only), 'config' (checksum, without
paths), 'state' (fingerprint of the weights), 'network', 'split', 'pool' (train, validation or test:
the pool that indices refer to; 'split' and 'pool' are None for the images of a folder), 'images'
(that folder) and 'data' (see identity.py).
"""

import hashlib
import itertools
from collections.abc import Iterable
from pathlib import Path

from etils import epath

from mpl.run import checkpoint, folders, identity, records
from mpl.run.evaluation import FinishedRun

COMPARED = ('network', 'pool', 'split', 'images')


def make(stage: FinishedRun, network: str, split: str | None, images: str | None = None) -> dict:
    """The provenance record of a network's outputs.

    Args:
      stage: of the run that has the network.
      network: its name in the report.
      split: of the examples; None for the images of a folder.
      images: the folder.
    """
    has_pool = split in stage.data['parts']
    return {
        'workdir': str(stage.workdir),
        'config': folders.checksum(stage.experiment.config),
        'state': int(checkpoint.fingerprint(stage.state)),
        'network': network,
        'pool': None if split is None else split if has_pool else 'train',
        'split': split,
        'images': images,
        'data': stage.data,
    }


def differences(old: dict, new: dict) -> list[str]:
    """The differences between two records except paths, a phrase each; empty for none."""
    lines = [f'{key}: {old[key]} -> {new[key]}' for key in COMPARED if old[key] != new[key]]
    if old['config'] != new['config']:
        lines.append('another config')
    elif old['state'] != new['state']:
        lines.append('other weights of the same config')
    return lines + identity.differences(old['data'], new['data'])


def describe(record: dict) -> str:
    """The record as a phrase."""
    return f'{record["network"]} of {record["workdir"]} on {record["split"] or record["images"]}'


def write_beside(path: str, made_by: dict) -> None:
    """Writes <path>.json: the provenance of a file, and the SHA-256 of its bytes."""
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    records.write(epath.Path(f'{path}.json'), {'made_by': made_by, 'sha256': digest})


def check_own(path: str) -> None:
    """Raises ValueError for a file without its provenance beside it, which is not ours to write over."""
    if epath.Path(path).exists() and not epath.Path(f'{path}.json').exists():
        raise ValueError(
            f'{path} is there already and was not written by mpl.predict; give another --output.'
        )


def check_distinct(files: Iterable[tuple[str, dict]]) -> None:
    """Refuses two files of one network, which would count twice in a mean: paths and provenance."""
    for (first, made_by), (second, other) in itertools.combinations(files, 2):
        if not differences(made_by, other):
            raise ValueError(
                f'{first} and {second} are of the same network and weights; give each network once.'
            )


def check_data(made_by: dict, data: dict, path: str | Path, workdir: epath.Path) -> None:
    """Refuses a file whose indices or split differ from those of a run.

    Args:
      made_by: the provenance of the file, of the training pool.
      data: the record of the run's data and split.
      path: of the file.
      workdir: of the run, for the message.

    Raises:
      ValueError: names the differences.
    """
    lines = identity.differences(*(identity.index_record(d) for d in (made_by['data'], data)))
    if made_by['pool'] != 'train':
        lines.append(f'pool: {made_by["pool"]} -> train')
    if made_by['data']['split'] != data['split']:
        lines.append(f'split: {made_by["data"]["split"]} -> {data["split"]}')
    if lines:
        raise ValueError(
            f'{path} ({describe(made_by)}) is not of the data and split of the run in {workdir} '
            f'({"; ".join(lines)}); give a file made by a run with the same data, split section and '
            'seed, or by this one.'
        )
