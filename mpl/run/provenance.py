"""What made a derived file: the run, its weights, the network, and which examples of which data.

The record is a dict: 'workdir' (where the run lay, for the reader), 'config' (checksum, without
places), 'state' (fingerprint of the weights), 'network', 'split' and 'pool' (train, validation or
test, in which examples have their numbers; both None for pictures of a folder, which 'images'
names) and 'data' (see identity.py).
"""

import hashlib
from pathlib import Path

from etils import epath

from mpl.run import checkpoint, identity, records
from mpl.run import workdir as folders
from mpl.run.evaluation import Stage

NAMED = ('network', 'pool', 'split', 'images')


def make(stage: Stage, network: str, split: str | None, images: str | None = None) -> dict:
    """The record of what a network gives.

    Args:
      stage: of the run that has the network.
      network: its name in the report.
      split: whose examples it was given; None for those in a folder.
      images: the folder.
    """
    own = split in stage.data['parts']
    return {
        'workdir': str(stage.workdir),
        'config': folders.checksum(stage.experiment.config),
        'state': int(checkpoint.fingerprint(stage.state)),
        'network': network,
        'pool': None if split is None else split if own else 'train',
        'split': split,
        'images': images,
        'data': stage.data,
    }


def differences(old: dict, new: dict) -> list[str]:
    """What differs between two records but for places, a phrase each; empty where nothing does."""
    lines = [f'{key}: {old[key]} -> {new[key]}' for key in NAMED if old[key] != new[key]]
    if old['config'] != new['config']:
        lines.append('another config')
    elif old['state'] != new['state']:
        lines.append('other weights of the same config')
    return lines + identity.differences(old['data'], new['data'])


def describe(record: dict) -> str:
    """The record in words."""
    return f'{record["network"]} of {record["workdir"]} on {record["split"] or record["images"]}'


def write_beside(path: str, made_by: dict) -> None:
    """Writes <path>.json: what made a file, and the SHA-256 of its bytes."""
    with open(path, 'rb') as file:
        digest = hashlib.file_digest(file, 'sha256').hexdigest()
    records.write(epath.Path(f'{path}.json'), {'made_by': made_by, 'sha256': digest})


def check_data(made_by: dict, data: dict, path: str | Path, workdir: epath.Path) -> None:
    """Refuses a file that goes by other example numbers, or another split, than a run.

    Args:
      made_by: the record of the file, of the training pool.
      data: the record of the run's data, with its split.
      path: of the file.
      workdir: of the run, for the message.

    Raises:
      ValueError: names what differs.
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
