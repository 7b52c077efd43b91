"""What takes a pass over a whole data set to know, kept in a file for the next start."""

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
    """The arrays that find() gives, from the file of an earlier call with the same key, or else found now.

    kind: begins the name of the file. key: what the arrays follow from, as JSON:
    files with their sizes and times (see `stamps`), and settings. The files lie in
    the folder MPL_CACHE, by default ~/.cache/mpl, under data/; they may be deleted at
    any time. A file that can not be read is made anew; where none can be written,
    or there is no home folder, nothing is kept.
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
        logging.warning('%s can not be read (%s) and is made anew.', path, error)
    found = find()
    beside = path.with_name(f'{path.name}.{os.getpid()}.tmp')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(beside, 'wb') as file:
            np.savez(file, **found)
        os.replace(beside, path)
    except OSError as error:
        logging.warning('%s can not be written: %s; the next start takes as long.', path, error)
    return found


def stamps(paths: list[str]) -> list[tuple[str, int, int, int]]:
    """What tells whether files have changed: of each the path, bytes and two times in nanoseconds.

    The times are of the last change of the content, which programs can set (cp -p, touch), and of
    the last change of anything, which they can not.
    """
    states = [os.stat(path) for path in paths]
    return [
        (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        for path, state in zip(paths, states)
    ]


def folder() -> Path:
    """Where the files lie."""
    return Path(os.environ.get('MPL_CACHE', '~/.cache/mpl')).expanduser() / 'data'
