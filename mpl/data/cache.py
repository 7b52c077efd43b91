"""A cache on disk for results of a pass over a whole data set."""

import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def load_or_compute(
    kind: str, key: Any, find: Callable[[], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """The arrays of find(), from the file of an earlier call with the same key if there is one.

    kind: prefix of the file's name. key: determines the arrays, as JSON: files with their sizes and
    times (see `stamps`), and settings. The files are in the folder data/ of MPL_CACHE, by default
    ~/.cache/mpl, and may be deleted at any time. A file that cannot be read is computed again. If
    no file can be written, or there is no home folder, nothing is cached.
    """
    try:
        place = folder()
    except RuntimeError as error:
        logging.warning('%s Set MPL_CACHE; the next start takes as long.', error)
        return find()
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]
    path = place / f'{kind}-{digest}.npz'
    try:
        with np.load(path) as file:
            return dict(file)
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged file raises errors of many types
        logging.warning('%s cannot be read (%s) and is made anew.', path, error)
    found = find()
    beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, 'wb') as file:
            np.savez(file, **found)
        os.replace(beside, path)
    except OSError as error:
        logging.warning('%s cannot be written: %s; the next start takes as long.', path, error)
    return found


def stamps(paths: list[str]) -> list[tuple[str, int, int, int]]:
    """Path, size in bytes and two times in nanoseconds of each file, to detect changes.

    The times are mtime, which programs can set (cp -p, touch), and ctime, which they cannot.
    """
    states = [os.stat(path) for path in paths]
    return [
        (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        for path, state in zip(paths, states)
    ]


def folder() -> Path:
    """The folder of the cached files."""
    return Path(os.environ.get('MPL_CACHE', '~/.cache/mpl')).expanduser() / 'data'
