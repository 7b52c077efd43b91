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

from mpl.data import splits
from mpl.data.source import Source
from mpl.parallel import processes
from mpl.run import checkpoint, paths, records
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

SELECTED = 'selected.json'  # the split that is trained on, where a teacher selects; see teaching.py


def check(config: ConfigDict, workdir: epath.Path) -> None:
    """Refuses a folder that is not that of a run of this config, or a new one.

    Raises:
      ValueError: names what is there instead, or the numbers that differ.
    """
    checkpoint.check_folder(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f'{workdir} is a file; give a folder as --workdir.')
    path = workdir / 'config.json'
    if path.exists():
        old, new = (json.loads(configs.to_json(c)) for c in (configs.read(path), config))
        _move(old, new)
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
    if path.exists() and read_data(workdir) != data(experiment):
        raise ValueError(
            f'The data of the run in {workdir} have changed since it began; '
            'bring them back, or give another --workdir.'
        )


def read_data(workdir: epath.Path) -> dict:
    """What `prepare` has written of the data; raises ValueError where that is damaged."""
    return records.read(
        workdir / 'data.json', 'what the data of a run are', 'bring it back, or train anew'
    )


def prepare(experiment: Experiment, workdir: epath.Path) -> None:
    """Makes the folder and writes the config, the split (for split.file) and what the data are."""
    if not processes.leads():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    records.write(workdir / 'config.json', experiment.config.to_dict())
    records.write(workdir / 'data.json', data(experiment))
    examples = len(experiment.source.train.label)
    splits.save(str(workdir / 'split.json'), experiment.split, examples)


def select(experiment: Experiment, workdir: epath.Path) -> Experiment:
    """The run with the unlabeled examples that its teacher has selected, where it selects any."""
    if not experiment.config.teacher.per_class:
        return experiment
    label = experiment.source.train.label
    return experiment._replace(split=splits.load(str(workdir / SELECTED), label))


def load(workdir: epath.Path, source: Source | None = None) -> tuple[Experiment, Any, int]:
    """A run that has been trained, its newest intact state, and the step of that.

    Args:
      workdir: its folder.
      source: that of the run, where it is at hand already.

    Raises:
      ValueError: the folder holds no run, or no checkpoint of it, or its data have changed.
    """
    config = configs.read(workdir / 'config.json')
    experiment = experiments.assemble(config, source=source)
    check_data(experiment, workdir)
    if not (workdir / 'checkpoints').exists():
        raise ValueError(f'The run in {workdir} has no checkpoint yet; train it first.')
    with checkpoint.open_folder(workdir / 'checkpoints') as manager:
        restored = checkpoint.restore(manager, experiment.state)
    if restored is None:
        raise ValueError(f'The run in {workdir} has no checkpoint yet; train it first.')
    return select(experiment, workdir), restored[1], restored[0]


@contextlib.contextmanager
def hold(workdir: epath.Path) -> Iterator[None]:
    """Keeps other runs from training in the folder; a kill lets go of it. Not in a bucket (gs://).

    Raises:
      ValueError: another process holds it.
    """
    if paths.is_remote(workdir) or not processes.leads():
        yield
        return
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


def _move(old, new):
    """Lets `old` name the places that `new` names: runs and files may be moved, devices be others."""
    old['mesh'] = new['mesh']
    for section, kind in (('init_from', 'workdir'), ('init_from', 'file'), ('teacher', 'workdir')):
        if old[section][kind] and new[section][kind]:
            old[section][kind] = new[section][kind]
    if old['teacher']['config'] and new['teacher']['config']:
        _move(old['teacher']['config'], new['teacher']['config'])


def data(experiment: Experiment) -> dict:
    """What the example numbers of a run go by, JSON-able; two runs of the same have one."""
    pool = experiment.source.train
    names = hashlib.sha256('\n'.join(pool.name).encode(errors='surrogateescape')).hexdigest()[:12]
    return {'examples': len(pool.label), 'names': names, 'split': experiment.split.hash}
