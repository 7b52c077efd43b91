"""The interface of trackers, which show the metrics of a run while it trains.

A tracker is a file in this package with a function `make(folder, step, config)` and a tuple
PACKAGES, the names of optional packages that it imports. The metrics themselves are kept in
metrics.jsonl, whatever the tracker.
"""

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Callable
from types import ModuleType
from typing import NamedTuple

from etils import epath

from mpl.run import trackers
from mpl.run.paths import is_remote


class Tracker(NamedTuple):
    """An open tracker of one run."""

    write: Callable[[int, dict[str, float]], None]  # (step, values by name)
    close: Callable[[], None]


def find(name: str) -> ModuleType:
    """The file of a tracker.

    Raises:
      ValueError: unknown name; or a package that it needs is missing.
    """
    names = [m.name for m in pkgutil.iter_modules(trackers.__path__) if m.name != 'interface']
    if name not in names:
        raise ValueError(f'track is {name!r}; give one of {", ".join(names)}.')
    module = importlib.import_module(f'mpl.run.trackers.{name}')
    for package in module.PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise ValueError(
                f'track is {name!r}, which needs {package}; install it with: '
                'pip install -r launch/requirements-track.txt'
            )
    return module


def start(name: str, folder: epath.Path, step: int, config: dict) -> Tracker:
    """The tracker of a name, for a run in a folder that goes on after a step.

    Raises:
      ValueError: see `find`; or it writes to a disk alone, and the folder is in a bucket.
    """
    module = find(name)
    if module.PACKAGES and is_remote(folder):
        raise ValueError(
            f'track is {name!r}, which writes to a disk; {folder} is in a bucket. Give '
            "track='tensorboard' or a --workdir on a disk."
        )
    return module.make(folder, step, config)


def local(folder: epath.Path) -> str:
    """The absolute path of a folder on a disk, which identifies its run."""
    return os.path.abspath(folder)
