"""The folder of a run: whose it is, that its data are still the same, that one process trains it."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

from etils import epath
from ml_collections import ConfigDict
from orbax import checkpoint as ocp

from mpl import checkpoint, metrics
from mpl import config as configs
from mpl import experiment as experiments
from mpl.data import splits
from mpl.experiment import Experiment


def check(config: ConfigDict, workdir: epath.Path) -> None:
    """Refuses a folder that is not that of a run of this config, or a new one.

    Raises:
      ValueError: names what is there instead, or the numbers that differ.
    """
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f'{workdir} is a file; give a folder as --workdir.')
    path = workdir / 'config.json'
    if path.exists():
        old, new = (
            json.loads(configs.to_json(c)) for c in (configs.complete(configs.read(path)), config)
        )
        for kind in ('workdir', 'file'):  # Both may be moved.
            if old['init_from'][kind] and new['init_from'][kind]:
                old['init_from'][kind] = new['init_from'][kind]
        if lines := configs.differences(old, new):
            raise ValueError(
                f'{workdir} holds a run of another config ({"; ".join(lines)}); '
                'give another --workdir, or the config of that run.'
            )
    elif workdir.exists() and any(p.name != 'config.json.tmp' for p in workdir.iterdir()):
        raise ValueError(f'{workdir} is not empty and holds no run; give another --workdir.')


def check_data(experiment: Experiment, workdir: epath.Path) -> None:
    """Refuses to go on with other data: numbers of examples would mean other images.

    Raises:
      ValueError: the split, the number or the names of the examples have changed.
    """
    path = workdir / 'data.json'
    if path.exists() and json.loads(path.read_text()) != _data(experiment):
        raise ValueError(
            f'The data of the run in {workdir} have changed since it began; '
            'bring them back, or give another --workdir.'
        )


def prepare(experiment: Experiment, workdir: epath.Path) -> None:
    """Makes the folder and writes the config, the split (for split.file) and what the data are."""
    workdir.mkdir(parents=True, exist_ok=True)
    metrics.write_whole(workdir / 'config.json', configs.to_json(experiment.config))
    metrics.write_whole(workdir / 'data.json', json.dumps(_data(experiment)) + '\n')
    examples = len(experiment.source.train.label)
    splits.save(str(workdir / 'split.json'), experiment.split, examples)


def load(workdir: epath.Path) -> tuple[Experiment, Any, int]:
    """A run that has been trained, its newest intact state, and the step of that.

    Raises:
      ValueError: the folder holds no run, or no checkpoint of it, or its data have changed.
    """
    experiment = experiments.assemble(configs.complete(configs.read(workdir / 'config.json')))
    check_data(experiment, workdir)
    if not (workdir / 'checkpoints').exists():
        raise ValueError(f'The run in {workdir} has no checkpoint yet; train it first.')
    with checkpoint.open_folder(workdir / 'checkpoints') as manager:
        restored = checkpoint.restore(manager, experiment.state)
    if restored is None:
        raise ValueError(f'The run in {workdir} has no checkpoint yet; train it first.')
    return experiment, restored[1], restored[0]


@contextlib.contextmanager
def hold(workdir: epath.Path) -> Iterator[None]:
    """Keeps other processes from training in the folder; a kill lets go of it.

    Raises:
      ValueError: another process holds it.
    """
    held = os.open(workdir, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(
            f'{workdir} is being trained by another process; wait for it, or stop it.'
        ) from error
    finally:
        os.close(held)


def set_aside(manager: ocp.CheckpointManager, step: int) -> None:
    """Moves a damaged checkpoint out of the way, to damaged_checkpoint_<step>."""
    folder = epath.Path(manager.directory)
    for number in itertools.count():
        place = folder.parent / f'damaged_checkpoint_{step}{f"_{number}" if number else ""}'
        if not place.exists():
            break
    (folder / str(step)).rename(place)
    manager.reload()


def _data(experiment):
    pool = experiment.source.train
    names = hashlib.sha256('\n'.join(pool.name).encode()).hexdigest()[:12]
    return {'examples': len(pool.label), 'names': names, 'split': experiment.split.hash}
