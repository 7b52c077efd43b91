"""Your own pictures: a folder of class folders, or a CSV file that lists them."""

import collections
import hashlib
import logging
import os
from concurrent import futures
from pathlib import Path

import numpy as np
import PIL

from mpl.data import cache, copies, damage, encoded, files, listing, names, source

_NAMED = 100  # damaged pictures in a message

_LOOKERS, _LOOKED_AT_ONCE = 16, 1024  # threads, since a network file system answers slowly


def make(
    path: str,
    size: int,
    channels: int = 3,
    central: float = 1.0,
    corrupt: str = 'gray',
    keep_bytes: int = 4 << 30,
    threads: int | None = None,
) -> source.Source:
    """The pictures in a folder as [size, size, channels], numbered in the order of their paths.

    path: a folder with labeled/<class>/ and, where wanted, unlabeled/,
    validation/<class>/ and test/<class>/, each with .jpg, .jpeg, .png, .webp or .bmp
    files at any depth, links followed; what else lies there is counted in one warning (see
    `walk`). Or a CSV file with the columns path, label and optionally split (train,
    validation or test; empty for train), whose paths are relative to it and whose empty
    labels mean unlabeled. A file is in one part and class, whatever names and links
    it has, or refused; copies of the same bytes are counted in a warning (see `copies`).
    Classes are those of the labeled training pictures, sorted as text.
    size: pixels; the short side is resized to size / central and the middle square cut
    out, upright as EXIF says; see `images` for transparent and other uncommon ones.
    channels: 3 for RGB, 1 for gray. corrupt: with 'gray' a damaged picture is gray and
    named in a warning when it is first met; with the others every file is decoded once at
    the start (and that remembered until one changes): 'refuse' raises ValueError, 'skip'
    leaves damaged ones out and names them in one warning.
    keep_bytes: a pool that takes up to so many bytes as uint8 is decoded at the start
    and kept in memory; pictures of a larger one are decoded whenever asked for.
    threads: that decode; None for one on each core.

    Raises ValueError where the folder, the CSV file or a picture is not as it must be.
    """
    encoded.check(size, central, corrupt, ('gray', 'refuse', 'skip'))
    if channels not in (1, 3):
        raise ValueError(f'channels is {channels}: give 3 for RGB or 1 for gray.')
    threads = encoded.count_threads(threads)
    root, found = files.find(path)
    classes = tuple(sorted({file.label for file in found if file.split == 'train' and file.label}))
    _check(path, found, classes)
    form = encoded.Format(size, channels, central)
    number = {name: number for number, name in enumerate(classes)} | {None: -1}
    copies.warn(root, found, threads)
    parts, damaged = {}, {}
    for split in listing.SPLITS:
        chosen = [file for file in found if file.split == split]
        part = part_of(root, chosen, [number[file.label] for file in chosen])
        if corrupt != 'gray' and chosen:
            part, wrong = _checked(root, chosen, part, form, threads)
            damaged |= wrong
        parts[split] = part if chosen else None
    del found, chosen
    left_out = _count(damaged)
    if damaged:
        _report(path, damaged, left_out, corrupt)
        _check_left(path, parts, classes)
    train, validation, test = (
        part and encoded.pool([part], form, (size, size, channels), path, keep_bytes, threads)
        for part in parts.values()
    )
    shape = size, size, channels
    return source.Source(train, validation, test, classes, shape, central, left_out)


def part_of(root: Path, found: list[files.File], label: list[int]) -> encoded.Part:
    """The files with their labels, read from disk whenever asked for."""
    name = names.pack(file.name for file in found)

    def fetch(numbers):
        return [(root / name[number]).read_bytes() for number in numbers]

    def sizes():
        def look(names):
            return [os.stat(root / one).st_size for one in names]

        starts = range(0, len(name), _LOOKED_AT_ONCE)
        with futures.ThreadPoolExecutor(_LOOKERS) as executor:
            found = executor.map(look, (name[start : start + _LOOKED_AT_ONCE] for start in starts))
            return np.array([size for some in found for size in some], np.int64)

    return encoded.Part(fetch, np.array(label, np.int32), name, upright=True, sizes=sizes)


def _check(path: str, found: list[files.File], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(
            f'The labeled training pictures in {path} are of too few classes '
            f'({", ".join(classes) or "none"}): at least 2 are needed.'
        )
    known = set(classes)
    for file in found:
        if file.split != 'train' and file.label not in known:
            raise ValueError(
                f'{file.name} in {path} is for {file.split} and of class {file.label!r}, of which there '
                f'are no labeled training pictures: the classes are {", ".join(classes)}.'
            )


def _checked(
    root: Path, chosen: list[files.File], part: encoded.Part, form: encoded.Format, threads: int
) -> tuple[encoded.Part, dict[files.File, str]]:
    """The readable pictures, and what is wrong with each of the others."""
    stamps = cache.stamps([str(root / name) for name in part.name])
    digest = hashlib.sha256(repr(stamps).encode(errors='surrogateescape')).hexdigest()

    def find():
        wrong = encoded.find_damaged(part, form, str(root), threads)
        return {'number': np.array([*wrong], np.int64), 'error': np.array([*wrong.values()], str)}

    found = cache.load_or_compute('damaged', ['damaged 2', PIL.__version__, form, digest], find)
    wrong = dict(zip(found['number'].tolist(), found['error'].tolist()))
    bad = {chosen[place]: error for place, error in wrong.items()}
    if not wrong:
        return part, bad
    good = [place for place in range(len(chosen)) if place not in wrong]
    return part_of(root, [chosen[place] for place in good], part.label[good]), bad


def _count(damaged: dict[files.File, str]) -> damage.Counts:
    counts = {}
    for file in damaged:
        of = counts.setdefault(file.part, collections.Counter())
        of[damage.NO_LABEL if file.label is None else file.label] += 1
    return {part: dict(sorted(of.items())) for part, of in counts.items()}


def _check_left(path: str, parts: dict[str, encoded.Part], classes: tuple[str, ...]) -> None:
    for split, part in parts.items():
        if part is not None and not len(part.label):
            raise ValueError(f'No picture for {split} in {path} can be read.')
    for number, name in enumerate(classes):
        if number not in parts['train'].label:
            raise ValueError(
                f'No labeled training picture of class {name!r} in {path} can be read: '
                'mend one or remove the class.'
            )


def _report(
    path: str, damaged: dict[files.File, str], left_out: damage.Counts, corrupt: str
) -> None:
    first = [(names.printable(file.name), error) for file, error in list(damaged.items())[:_NAMED]]
    listed = '; '.join(f'{name} ({error})' for name, error in first)
    listed += '; ...' if len(damaged) > _NAMED else ''
    if corrupt == 'refuse':
        raise ValueError(
            f'{len(damaged)} pictures in {path} cannot be read: {listed}. '
            "Mend or remove them, or set corrupt='skip' to leave them out."
        )
    logging.warning(
        '%d pictures in %s cannot be read and are left out: %s. %s',
        len(damaged), path, listed, ' '.join(damage.warnings({}, left_out)),
    )  # fmt: skip
