"""Lists the pictures of a folder of class folders, or of a CSV file, each once."""

import difflib
import logging
import os
import unicodedata
from pathlib import Path
from typing import NamedTuple

from mpl.data import listing, names, walk

FOLDERS = ('labeled', 'unlabeled', 'validation', 'test')
# Common names of such folders elsewhere.
_OTHER_NAMES = (
    'train training trainset sup supervised unsup unsupervised val valid validate dev devel eval '
    'evaluation heldout held_out holdout hold_out testing testset test_set train_set val_set'
).split()
_ALIKE = 0.8  # difflib's ratio from which on a name counts as misspelled


class File(NamedTuple):
    name: str  # POSIX path below the folder
    split: str  # one of listing.SPLITS
    label: str | None  # class; None without a label
    size: int  # bytes
    identity: walk.Identity

    @property
    def part(self) -> str:
        """One of FOLDERS."""
        return (
            ('unlabeled' if self.label is None else 'labeled')
            if self.split == 'train'
            else self.split
        )


def find(path: str, may_lack_labels: bool = False) -> tuple[Path, list[File]]:
    """The folder, and its images sorted by name, each file once, also with several links to it.

    may_lack_labels: whether unlabeled/ is enough where other folders have labels; alone it always is.

    One warning counts the entries that are not read, with examples. Raises ValueError if the layout
    of the folder or the CSV file is wrong, or one file is in two parts or classes.
    """
    place = expand(path)
    if place.is_dir():
        omitted = walk.left_out()
        found = _once(place, _walk(place, omitted, may_lack_labels), omitted)
        _warn(place, omitted)
    elif place.is_file() and place.suffix.lower() == '.csv':
        rows = listing.read(place)
        found = _once(place, [File(*row) for row in rows], None)
        place = place.parent
    else:
        there = 'is neither a folder nor a .csv file' if place.exists() else 'does not exist'
        raise ValueError(
            f'{place} {there}: give a folder with labeled/<class>/ in it, or a CSV file.'
        )
    _check_classes(path, {file.label for file in found if file.label is not None})
    return place, found


def find_unlabeled(path: str) -> tuple[Path, list[File]]:
    """The folder, and the images at any depth of it, sorted by name, without labels; as `find`."""
    root, omitted = expand(path), walk.left_out()
    files = _files(walk.top(root), 'train', None, omitted)
    found = _once(root, files, omitted)
    _warn(root, omitted)
    return root, found


def expand(path: str) -> Path:
    """The path with ~ or ~user expanded; raises ValueError if there is no such home folder."""
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ValueError(
            f'{path} begins with ~, but that home folder is not known: '
            'give the whole path, or ./~... for a file of that name.'
        ) from error


def _walk(root: Path, omitted: walk.LeftOut, may_lack_labels: bool) -> list[File]:
    folders, loose = walk.scan(walk.top(root), omitted)
    parts = {folder.name: folder for folder in folders if folder.name in FOLDERS}
    _check_names(root, parts, [folder.name for folder in folders], may_lack_labels)
    if loose:
        omitted[f'pictures beside {walk.listed(parts)}'] += [picture.name for picture in loose]
    if others := [folder.name for folder in folders if folder.name not in parts]:
        omitted[f'folders beside {walk.listed(parts)}'] += others
    files = []
    for name, folder in parts.items():
        if name == 'unlabeled':
            files += _files(folder, 'train', None, omitted)
        else:
            files += _of_classes(root, folder, omitted)
    return files


def _check_names(
    root: Path, parts: dict[str, walk.Folder], folders: list[str], may_lack_labels: bool
) -> None:
    """Raises ValueError for folders with a name similar to one of FOLDERS, and files with such a name."""
    allowed = ', '.join(f'{name}/' for name in FOLDERS)
    there = sorted(os.listdir(root))
    for name in there:
        if name in FOLDERS and name not in parts:
            raise ValueError(
                f'{root / name} is not a folder that can be read: make it one, or remove it.'
            )
    for name in folders:
        plain = name.strip().casefold().replace('-', '_')
        alike = difflib.get_close_matches(plain, FOLDERS, 1, _ALIKE)
        if name not in FOLDERS and (alike or plain in _OTHER_NAMES):
            raise ValueError(
                f'{root} has a folder {name!r}, which would not be read: rename it to one of {allowed} '
                'or move it elsewhere.'
            )
    needed = ('labeled', 'unlabeled') if may_lack_labels else ('labeled',)
    if not any(name in parts for name in needed) and set(parts) != {'unlabeled'}:
        shown = names.examples(there, 10)
        raise ValueError(
            f'{root} has no folder {walk.listed(f"{name}/" for name in needed)} '
            f'(there is: {shown or "nothing"}): put the labeled pictures in labeled/<class>/'
            + (
                '.'
                if may_lack_labels or 'unlabeled' not in parts
                else ', or name the classes of pictures that are labeled later, source.classes.'
            )
        )


def _of_classes(root: Path, folder: walk.Folder, omitted: walk.LeftOut) -> list[File]:
    """The pictures of labeled/, validation/ or test/."""
    part, files, classes = folder.name, [], 0
    folders, loose = walk.scan(folder, omitted)
    if loose:
        raise ValueError(
            f'{root / loose[0].name} lies in no class folder: '
            f'move it to {part}/<class>/, or to unlabeled/.'
        )
    back = walk.above(folder) | {folder.identity}
    for one in folders:
        if one.identity in back:
            omitted['links that lead back to a folder above'].append(one.name)
            continue
        classes += 1
        split = 'train' if part == 'labeled' else part
        files += _files(one, split, one.name.removeprefix(f'{part}/'), omitted)
    if not classes:
        raise ValueError(f'{root / part} has no class folders: put pictures in {part}/<class>/.')
    return files


def _files(folder: walk.Folder, split: str, label: str | None, omitted: walk.LeftOut) -> list[File]:
    """The pictures at any depth of a folder, at least one."""
    own = walk.left_out()
    found = walk.pictures(folder, own)
    if not found:
        raise ValueError(
            f'{folder.path} has no pictures ({walk.describe(own) or "it is empty"}): '
            f'put {", ".join(walk.EXTENSIONS)} files there, or remove the folder.'
        )
    for kind, entries in own.items():
        omitted[kind] += entries
    return [File(one.name, split, label, one.size, one.identity) for one in found]


def _once(place: Path, files: list[File], omitted: walk.LeftOut | None) -> list[File]:
    """The files sorted by name, each once; raises ValueError for one in two parts or classes.

    omitted: collects further names of a file; with None these raise ValueError too.
    """
    first, kept = {}, []
    for file in sorted(files, key=lambda file: file.name):
        other = first.setdefault(file.identity, file)
        if other is file:
            kept.append(file)
        elif (other.part, other.label) != (file.part, file.label):
            of = [
                f'{one.part}{"" if one.label is None else f" {one.label!r}"}'
                for one in (other, file)
            ]
            raise ValueError(
                f'{names.printable(other.name)} and {names.printable(file.name)} in {place} are one file, '
                f'once for {of[0]} and once for {of[1]}: a picture may be in one part and class; '
                'remove one of them.'
            )
        elif omitted is None:
            raise ValueError(
                f'{place} names one file twice, as {names.printable(other.name)} and '
                f'{names.printable(file.name)}: remove one line.'
            )
        else:
            omitted['further names of a file that is read'].append(file.name)
    return kept


def _check_classes(path: str, classes: set[str]) -> None:
    """Raises ValueError for class names with line breaks or the like; warns of nearly equal names."""
    plain = {}
    for name in sorted(classes):
        if any(unicodedata.category(letter) in ('Cc', 'Cs', 'Zl', 'Zp') for letter in name):
            raise ValueError(
                f'The class {name!r} in {path} has a line break, a control character or bytes that '
                'are not UTF-8 in its name: rename it.'
            )
        key = ' '.join(unicodedata.normalize('NFKC', name).casefold().split())
        other = plain.setdefault(key, name)
        if other != name:
            logging.warning(
                'The classes %r and %r in %s differ in case, spaces or the form of their letters '
                'only, and are two classes.', other, name, path
            )  # fmt: skip


def _warn(root: Path, omitted: walk.LeftOut) -> None:
    if omitted:
        logging.warning(
            '%d entries in %s are left out (read are %s files): %s.',
            sum(map(len, omitted.values())),
            root,
            ', '.join(walk.EXTENSIONS),
            walk.describe(omitted),
        )
