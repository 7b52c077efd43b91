"""Lists the pictures of a folder of class folders, or of a CSV file."""

import collections
import csv
import logging
import os
from pathlib import Path
from typing import NamedTuple

EXTENSIONS = ('.jpg', '.jpeg', '.png', '.webp', '.bmp')  # in any case
SPLITS = ('train', 'validation', 'test')


class File(NamedTuple):
    name: str  # POSIX path below the folder
    split: str  # one of SPLITS
    label: str | None  # class; None where there is none


def find(path: str) -> tuple[Path, list[File]]:
    """The folder, and its pictures sorted by name; raises ValueError where it is not laid out well."""
    place = Path(path).expanduser()
    if place.is_dir():
        return place, sorted(_walk(place))
    if place.is_file() and place.suffix.lower() == '.csv':
        return place.parent, sorted(_read(place))
    found = 'is neither a folder nor a .csv file' if place.exists() else 'does not exist'
    raise ValueError(f'{place} {found}: give a folder with labeled/<class>/ in it, or a CSV file.')


def find_unlabeled(path: str) -> tuple[Path, list[File]]:
    """The folder, and the pictures at any depth of it, sorted by name, without labels."""
    root, others = Path(path).expanduser(), collections.Counter()
    if not root.is_dir():
        raise ValueError(f'{root} is not a folder; give one with pictures in it.')
    found = sorted(File(name, 'train', None) for name in _pictures(root, root, others))
    _warn(root, others)
    return root, found


def _walk(root: Path) -> list[File]:
    if not (root / 'labeled').is_dir():
        there = ', '.join(sorted(entry.name for entry in root.iterdir())[:10])
        raise ValueError(
            f'{root} has no folder labeled/ (there is: {there or "nothing"}): '
            'put the labeled pictures in labeled/<class>/.'
        )
    files, others = [], collections.Counter()
    for part in ('labeled', 'validation', 'test'):
        folder = root / part
        if not folder.is_dir():
            continue
        entries = sorted(entry for entry in folder.iterdir() if not entry.name.startswith('.'))
        for entry in entries:
            if entry.is_dir():
                split = 'train' if part == 'labeled' else part
                names = _pictures(root, entry, others)
                files += [File(name, split, entry.name) for name in names]
            elif entry.suffix.lower() in EXTENSIONS:
                raise ValueError(
                    f'{entry} lies in no class folder: move it to {part}/<class>/, or to unlabeled/.'
                )
        if not any(entry.is_dir() for entry in entries):
            raise ValueError(f'{folder} has no class folders: put pictures in {part}/<class>/.')
    if (root / 'unlabeled').is_dir():
        names = _pictures(root, root / 'unlabeled', others)
        files += [File(name, 'train', None) for name in names]
    _warn(root, others)
    return files


def _pictures(root: Path, folder: Path, others: collections.Counter) -> list[str]:
    """Names of the pictures at any depth; adds the other extensions to `others`."""
    names, passed = [], collections.Counter()
    for here, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith('.')]
        below = Path(here).relative_to(root).as_posix()
        prefix = '' if below == '.' else f'{below}/'
        for name in files:  # Texts, not paths: there may be millions.
            extension = os.path.splitext(name)[1].lower()
            if name.startswith('.'):
                continue
            if extension in EXTENSIONS:
                names.append(prefix + name)
            else:
                passed[extension or 'no extension'] += 1
    if not names:
        raise ValueError(
            f'{folder} has no pictures ({_counts(passed) or "it is empty"}): '
            f'put {_allowed()} files there, or remove the folder.'
        )
    others.update(passed)
    return names


def _warn(root: Path, others: collections.Counter) -> None:
    if others:
        logging.warning(
            '%d files in %s have other extensions than %s and are passed over: %s.',
            others.total(),
            root,
            _allowed(),
            _counts(others),
        )


def _allowed() -> str:
    return ', '.join(EXTENSIONS)


def _counts(extensions: collections.Counter) -> str:
    return ', '.join(f'{count} with {name}' for name, count in sorted(extensions.items()))


def _read(path: Path) -> list[File]:
    files = {}
    try:
        with open(path, newline='', encoding='utf-8-sig') as handle:
            rows = csv.DictReader(handle)
            columns = rows.fieldnames or []
            if not {'path', 'label'} <= set(columns) <= {'path', 'label', 'split'}:
                raise ValueError(
                    f'{path} has the columns {columns}: its first line must be path,label or path,label,split.'
                )
            for row in rows:
                file = _row(path, rows.line_num, row)
                if file.name in files:
                    raise ValueError(
                        f'{path} names {file.name} twice, the second time in line {rows.line_num}.'
                    )
                files[file.name] = file
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f'{path} cannot be read as CSV in UTF-8: {error}.') from error
    if not files:
        raise ValueError(f'{path} lists no pictures: add one line for each, path,label.')
    return list(files.values())


def _row(path: Path, line: int, row: dict) -> File:
    if None in row or None in row.values():
        raise ValueError(f'Line {line} of {path} does not have as many fields as the first line.')
    row = {column: value.strip() for column, value in row.items()}
    name, label = Path(row['path']).as_posix(), row['label'] or None
    split = row['split'] if 'split' in row and row['split'] else 'train'
    if split not in SPLITS:
        raise ValueError(
            f'Line {line} of {path} has the split {split!r}: allowed are {", ".join(SPLITS)}.'
        )
    if label is None and split != 'train':
        raise ValueError(f'Line {line} of {path} has no label: pictures for {split} need one.')
    if not (path.parent / name).is_file():
        raise ValueError(
            f'Line {line} of {path} names {name!r}, but there is no such file in {path.parent}: '
            'paths are relative to the folder of the CSV file.'
        )
    return File(name, split, label)
