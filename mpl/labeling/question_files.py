"""The images of a cycle that people are asked to label, in asked.json."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from etils import epath

from mpl.data import names
from mpl.run import records

FILE = 'asked.json'
LABELS = 'labels.csv'  # in the work directory; see data/label_file.py
_CYCLE = re.compile(r'cycle_(\d+)')


class Asked(NamedTuple):
    """Images of one cycle in the order in which they were chosen."""

    root: str  # folder that the paths are relative to
    classes: tuple[str, ...]
    cycle: int
    number: tuple[int, ...]  # example indices
    path: tuple[str, ...]
    suggestion: tuple[str, ...] = ()  # a network's class for each image, or empty
    confidence: tuple[float, ...] = ()  # its probability, or empty


class Row(NamedTuple):
    """An answer in a file of any form, before it is checked."""

    place: str  # 'Line 3 of to_label.csv'
    name: str  # path of the image, or a name that `find` recognizes
    label: str  # class, label_file.SKIP, or '' for none
    annotator: str = ''  # '' if the file does not tell
    number: str = ''  # index of the image, '' if the file does not tell


def write(folder: Path, asked: Asked) -> None:
    """Writes asked.json; one that differs only in the place of the images is brought up to date.

    Raises:
      ValueError: the folder has other questions, or these are not valid.
    """
    _check(asked)
    before = read(folder) if (folder / FILE).exists() else None
    if before == asked:
        return
    if before is not None and before._replace(root=asked.root) != asked:
        raise ValueError(
            f'{folder} has other questions than these; give another --workdir, or the config that '
            'they were made with.'
        )
    folder.mkdir(parents=True, exist_ok=True)
    records.write(epath.Path(folder / FILE), asked._asdict())


def read(folder: Path) -> Asked:
    """The questions of a cycle.

    Raises:
      ValueError: there are none, or the file was changed.
    """
    if not (folder / FILE).exists():
        raise ValueError(
            f'{folder} has no questions ({FILE}); run mpl.active first, which asks them.'
        )
    record = records.read(
        epath.Path(folder / FILE), 'a list of questions', 'ask again in another folder'
    )
    asked = Asked(**{key: _frozen(value) for key, value in record.items()})
    _check(asked)
    return asked


def cycles(workdir: Path) -> Iterator[tuple[Path, Asked]]:
    """The folders with questions and their questions, cycle by cycle.

    Raises:
      ValueError: there are none, or they are of different classes.
    """
    matched = [(_CYCLE.fullmatch(path.name), path) for path in workdir.glob('cycle_*')]
    folders = sorted((int(m[1]), path) for m, path in matched if m and (path / FILE).exists())
    if not folders:
        raise ValueError(
            f'{workdir} has no questions yet; run mpl.active with this --workdir first, which asks '
            'them.'
        )
    first = read(folders[0][1])
    for _, folder in folders:
        asked = read(folder)
        if asked.classes != first.classes:
            raise ValueError(
                f'{folder} asks about the classes {", ".join(asked.classes)}, but {folders[0][1]} '
                f'about {", ".join(first.classes)}: they are of different studies.'
            )
        yield folder, asked


def file_name(number: int, path: str) -> str:
    """A flat name for a copy of an image, from which `find` recovers it: mpl_000012.jpg"""
    return f'mpl_{number:06}{Path(path).suffix.lower()}'


class Finder:
    """Finds images by the names that labeling tools return."""

    def __init__(self, all_asked: list[Asked]):
        self.numbers = {p: n for asked in all_asked for n, p in zip(asked.number, asked.path)}
        self._paths = {path: path for path in self.numbers}
        self._by_number = {number: path for path, number in self.numbers.items()}
        self._ends = {}
        for path in self._paths:
            parts = path.split('/')
            for start in range(1, len(parts)):
                end = '/'.join(parts[start:])
                self._ends[end] = None if end in self._ends else path

    def find(self, name: str) -> str | None:
        """The path of an image; None for one that was not asked for, or several.

        name: its path, the end of its path, a URL that ends with either, or a name of `file_name`.
        """
        name = name.replace('\\', '/')
        if matched := re.fullmatch(r'(?:.*/)?mpl_(\d+)\.\w+', name):
            return self._by_number.get(int(matched[1]))
        while name not in self._paths and name not in self._ends and '/' in name:
            name = name.partition('/')[2]
        return self._paths.get(name) or self._ends.get(name)


def _frozen(value):
    return tuple(value) if isinstance(value, list) else value


def _check(asked: Asked) -> None:
    if not asked.number:
        raise ValueError('There are no pictures to ask for.')
    check_paths(asked.path, asked.root)
    if len(set(asked.number)) < len(asked.number) or len(set(asked.path)) < len(asked.path):
        raise ValueError('A picture is asked for twice in one cycle.')


def check_paths(paths: Iterable[str], root: str) -> None:
    """Raises ValueError for a path of an image that people cannot be asked for; root: the folder of all."""
    for path in paths:
        if len(path.splitlines()) > 1 or path.strip() != path or not names.is_utf8(path):
            raise ValueError(
                f'{path!r} has a line break, spaces at its ends or bytes that are not UTF-8 in its '
                'name, which no file of questions can hold: rename it.'
            )
        if path.startswith('/') or '..' in path.split('/'):
            raise ValueError(
                f'{names.printable(path)} is not below {root}: pictures that people are asked '
                'for must lie in the folder, or below that of the CSV file.'
            )
