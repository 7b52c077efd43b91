"""Traversal of folders of images, with the same rules for training and prediction."""

import collections
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from mpl.data import names

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')  # in any case
Identity = tuple[int, int]  # device and inode: the same for every link to a file or folder
LeftOut = dict[str, list[str]]  # entries that are not read: the kind -> names

_SHOWN = 3  # examples of a kind in a message


class Picture(NamedTuple):
    """A regular file with one of EXTENSIONS that may be read."""

    name: str  # POSIX path below the root
    size: int  # bytes
    identity: Identity


class Folder(NamedTuple):
    """A folder, or a link to one."""

    path: str
    name: str  # POSIX path below the root
    is_link: bool
    identity: Identity


def left_out() -> LeftOut:
    """An empty LeftOut."""
    return collections.defaultdict(list)


def describe(omitted: LeftOut) -> str:
    """'2 hidden files or folders (.a.jpg, .cache), 1 file with .tif (raw.tif)'"""
    return ', '.join(
        f'{len(found)} {kind} ({names.examples(found, _SHOWN)})'
        for kind, found in sorted(omitted.items())
    )


def top(path: Path) -> Folder:
    """The folder at which a walk begins; raises ValueError if it cannot be read."""
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        raise ValueError(f'{path} is not a folder that can be read: {error}.') from error
    if not stat.S_ISDIR(state.st_mode):
        raise ValueError(f'{path} is not a folder; give one with pictures in it.')
    return Folder(os.path.realpath(path), '', False, _identity(state))


def scan(folder: Folder, omitted: LeftOut) -> tuple[list[Folder], list[Picture]]:
    """The folders and the pictures directly in a folder, sorted; adds everything else to `omitted`."""
    try:
        with os.scandir(folder.path) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        omitted[f'folders that cannot be opened ({error.strerror})'].append(folder.name or '.')
        return [], []
    folders, pictures = [], []
    prefix = folder.name and f'{folder.name}/'
    for entry in entries:
        name = prefix + entry.name
        if entry.name.startswith('.'):
            omitted['hidden files or folders'].append(name)
            continue
        try:
            state = entry.stat()
        except OSError:  # no such file, or links in a circle
            omitted['links that lead nowhere'].append(name)
            continue
        if stat.S_ISDIR(state.st_mode):
            folders.append(Folder(entry.path, name, entry.is_symlink(), _identity(state)))
        elif kind := _excluded(entry, state):
            omitted[kind].append(name)
        else:
            pictures.append(Picture(name, state.st_size, _identity(state)))
    return folders, pictures


def pictures(folder: Folder, omitted: LeftOut) -> list[Picture]:
    """The pictures at any depth of a folder, links followed, each folder once."""
    found, visited = [], set()
    outside = above(folder)
    pending, linked = [folder], collections.deque()
    while pending or linked:
        here = pending.pop() if pending else linked.popleft()
        if here.identity in outside:
            omitted['links that lead back to a folder above'].append(here.name)
            continue
        if here.identity in visited:
            omitted['links to folders that are read already'].append(here.name)
            continue
        visited.add(here.identity)
        folders, inside = scan(here, omitted)
        found += inside
        for one in folders:  # Links come last, so that a folder has its own name.
            (linked if one.is_link else pending).append(one)
    return found


def above(folder: Folder) -> set[Identity]:
    """The parents of a folder, of its path and of the path that its links resolve to."""
    paths = Path(folder.path), Path(os.path.realpath(folder.path))
    return {_identity(os.stat(parent)) for path in paths for parent in path.parents}


def regular(path: str) -> Picture:
    """A file by its path, with any extension.

    Raises ValueError, with a clause for a message, if it cannot be read.
    """
    try:
        state = os.stat(path)
    except (OSError, ValueError) as error:  # ValueError: a NUL character
        raise ValueError('there is no such file') from error
    if not stat.S_ISREG(state.st_mode):
        raise ValueError('that is a folder or a special file')
    if not os.access(path, os.R_OK):
        raise ValueError('that may not be read')
    return Picture(path, state.st_size, _identity(state))


def listed(values: Iterable[str]) -> str:
    """'a, b or c'"""
    *others, last = values
    return f'{", ".join(others)} or {last}' if others else last


def _excluded(entry: os.DirEntry, state: os.stat_result) -> str:
    """The kind of a file that is not read, '' for one that is; does not open it."""
    if not stat.S_ISREG(state.st_mode):
        return 'special files'
    extension = os.path.splitext(entry.name)[1].lower()
    if extension not in EXTENSIONS:
        return f'with {extension}' if extension else 'without extension'
    return '' if os.access(entry.path, os.R_OK) else 'without permission to read'


def _identity(state: os.stat_result) -> Identity:
    return state.st_dev, state.st_ino
