"""The folder of a run: checks its config and data, prepares it, locks it, loads trained runs."""

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from typing import Any

from absl import logging
from etils import epath
from ml_collections import ConfigDict
from orbax import checkpoint as ocp

from mpl.data.source import Source
from mpl.parallel import processes
from mpl.run import checkpoint, data_record, identity, paths, records, schema, split_files
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

SELECTED = 'selected.json'  # the split for training if a teacher selects; see teacher.py
PATH_PLACEHOLDER = '<path>'  # stands for a path of something that may be moved
PATH_KEYS = {
    'source': ('path', 'unlabeled_folder', 'labels'),
    'split': ('file',),
    'init_from': ('workdir', 'file'),
    'teacher': ('workdir', 'logits'),
}  # keys of a config, by section


def check(config: ConfigDict, workdir: epath.Path) -> None:
    """Refuses a folder that is neither new nor that of a run of this config.

    Raises:
      ValueError: names the content of the folder, or the differing keys.
    """
    checkpoint.check_folder(workdir)
    if workdir.exists() and not workdir.is_dir():
        raise ValueError(f'{workdir} is a file; give a folder as --workdir.')
    path = workdir / 'config.json'
    if path.exists():
        old, new = (json.loads(configs.to_json(c)) for c in (configs.read(path), config))
        if lines := configs.differences(without_paths(old), without_paths(new)):
            raise ValueError(
                f'{workdir} holds a run of another config ({"; ".join(lines)}); '
                'give another --workdir, or the config of that run.'
            )
        _warn_of_starts(old, new, workdir)
    elif workdir.exists() and any(p.name != 'config.json.tmp' for p in workdir.iterdir()):
        raise ValueError(f'{workdir} is not empty and holds no run; give another --workdir.')


def check_finished(config: ConfigDict, workdir: epath.Path, source: Source | None = None) -> None:
    """Refuses a finished run whose split file was changed, or whose data have changed.

    If the data have been moved, the config in the folder is updated to their new path. If they
    cannot be read, which a finished run does not require, a warning is logged.

    Args:
      config: of the run; `check` has compared it.
      workdir: its folder.
      source: that of the config, if it is loaded already.

    Raises:
      ValueError: the data or the split differ from those of the run; names the differences.
    """
    data_record.read_split(workdir)
    absent = 'The data of the finished run in %s cannot be read, so they were not compared: %s'
    try:
        source = experiments.read_source(config) if source is None else source
        record = identity.make(source)
    except (ValueError, OSError) as error:
        logging.warning(absent, workdir, error)
        return
    data_record.check(record, workdir, source)
    try:
        split = split_files.make(config, source)
    except ValueError as error:  # split.file is missing; drawn splits depend on the data only.
        logging.warning(absent, workdir, error)
        return
    data_record.check(record | {'split': split.hash}, workdir, source)
    if processes.is_primary():
        _move(workdir, config)


def prepare(experiment: Experiment, workdir: epath.Path) -> None:
    """Creates the folder and writes the config, the split (for split.file) and the data record."""
    if not processes.is_primary():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    _write_config(workdir, experiment.config)
    record = data_record.write(experiment, workdir)
    made_by = {'config': checksum(experiment.config)}
    split_files.write(workdir / 'split.json', experiment.split, record, made_by)


def select(experiment: Experiment, workdir: epath.Path) -> Experiment:
    """The run with the split that its teacher selected; unchanged if teacher.per_class is 0."""
    if not experiment.config.teacher.per_class:
        return experiment
    return experiment._replace(split=split_files.load(workdir / SELECTED, experiment.source))


def load(workdir: epath.Path, source: Source | None = None) -> tuple[Experiment, Any, int]:
    """A trained run, its newest intact state, and the step of that state.

    Args:
      workdir: its folder.
      source: that of the run, if it is loaded already.

    Raises:
      ValueError: the folder has no run or no checkpoint, or its data are missing or have
        changed.
    """
    config = configs.read(workdir / 'config.json')
    source = data_record.read_source(config, workdir, source)
    experiment = experiments.assemble(config, source=source)
    data_record.check(data_record.make(experiment), workdir, source)
    return select(experiment, workdir), *_restore(experiment, workdir)


def load_networks(workdir: epath.Path) -> tuple[Experiment, Any, int]:
    """The same as `load`, without the data of the run.

    The source of the experiment has labels but no images; reading images raises ValueError.

    Raises:
      ValueError: the folder has no run or no checkpoint.
    """
    config = configs.read(workdir / 'config.json')
    split, _ = data_record.read_split(workdir)
    source = identity.placeholder_source(*data_record.read(workdir))
    experiment = experiments.assemble(config, source=source, split=split)
    return experiment, *_restore(experiment, workdir)


@contextlib.contextmanager
def lock(workdir: epath.Path) -> Iterator[None]:
    """Holds an exclusive lock on the folder, which a kill releases. No lock in buckets (gs://).

    Raises:
      ValueError: another process holds the lock.
    """
    if paths.is_remote(workdir) or not processes.is_primary():
        yield
        return
    descriptor = os.open(workdir, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError as error:
        raise ValueError(
            f'{workdir} is being trained by another process; wait for it, or stop it.'
        ) from error
    finally:
        os.close(descriptor)


def set_aside(manager: ocp.CheckpointManager, step: int) -> None:
    """Moves a damaged checkpoint to damaged_checkpoint_<step>."""
    folder = epath.Path(manager.directory)
    for count in itertools.count():
        target = folder.parent / f'damaged_checkpoint_{step}{f"_{count}" if count else ""}'
        if not target.exists():
            break
    (folder / str(step)).rename(target)
    manager.reload()


def without_paths(config: dict) -> dict:
    """A config with PATH_PLACEHOLDER for the paths in PATH_KEYS, without the mesh and the tracker."""
    kept = {key: value for key, value in config.items() if key != 'track'} | {'mesh': {}}
    for section, keys in PATH_KEYS.items():
        kept[section] = {
            key: PATH_PLACEHOLDER if key in keys and value else value
            for key, value in config[section].items()
            if key != 'data_dir'  # A path even if it is None (tfds).
        }
    for section in schema.STAGES:
        if kept[section]['config']:
            kept[section]['config'] = without_paths(kept[section]['config'])
    return kept


def checksum(config: ConfigDict) -> str:
    """16 hexadecimal digits of all config values that training depends on."""
    text = json.dumps(without_paths(json.loads(configs.to_json(config))), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _warn_of_starts(old, new, workdir):
    """What a run starts from may have been moved, but is not read again once the run has begun."""
    for section in schema.STAGES:
        paths = [{key: one[section][key] for key in PATH_KEYS[section]} for one in (old, new)]
        if lines := configs.differences(*paths, f'{section}.'):
            logging.warning(
                'The run in %s has begun with another path (%s). That is right for what was moved; to '
                'train from something else give another --workdir.', workdir, '; '.join(lines),
            )  # fmt: skip


def _restore(experiment, workdir):
    """The newest intact state of a run, and its step."""
    restored = None
    if (workdir / 'checkpoints').exists():
        with checkpoint.open_folder(workdir / 'checkpoints') as manager:
            restored = checkpoint.restore(manager, experiment.state)
    if restored is None:
        raise ValueError(f'The run in {workdir} has no checkpoint yet; train it first.')
    return restored[1], restored[0]


def _move(workdir, config):
    """Writes the data paths of a config into the folder of the run and of its stages."""
    old = configs.read(workdir / 'config.json')
    for stage in (*schema.STAGES.values(), 'finetune'):
        if (workdir / stage / 'config.json').exists():
            inner = configs.read(workdir / stage / 'config.json').to_dict()
            inner |= {'source': config.source.to_dict(), 'split': config.split.to_dict()}
            _move(workdir / stage, configs.complete(inner))
    if old.source != config.source or old.split != config.split:
        moved = old.to_dict() | {
            'source': config.source.to_dict(),
            'split': config.split.to_dict(),
        }
        _write_config(workdir, configs.complete(moved))


def _write_config(workdir, config):
    records.write(workdir / 'config.json', config.to_dict())
