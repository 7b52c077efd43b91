"""Your own images: a folder of class folders, or a CSV file that lists them."""

import collections
import hashlib
import logging
import os
from concurrent import futures
from pathlib import Path

import numpy as np
import PIL

from mpl.data import cache, copies, damage, encoded, files, listing, names, source

# Of images without any label, so that a network has a last layer; it is not trained, and nothing measured.
NO_CLASSES = ('no label 0', 'no label 1')
_NAMED = 100  # damaged images in a message
_STAT_THREADS, _STAT_CHUNK = 16, 1024  # for network file systems, whose latency is high


def make(
    path: str,
    size: int,
    channels: int = 3,
    central: float = 1.0,
    corrupt: str = 'gray',
    keep_bytes: int = 4 << 30,
    threads: int | None = None,
) -> source.Source:
    """The images in a folder as [size, size, channels], sorted by path.

    path: a folder with labeled/<class>/ and, if desired, unlabeled/, validation/<class>/ and
    test/<class>/, each with .jpg, .jpeg, .png, .webp or .bmp files at any depth; links are
    followed, and one warning counts other entries (see `walk`). Or a CSV file with the columns
    path, label and optionally split (train, validation or test; empty for train). Its paths are
    relative to it, and an empty label means unlabeled. A file in two parts or classes, by whatever
    names and links, raises ValueError; a warning counts copies of the same bytes (see `copies`).
    Classes are those of the labeled training images, sorted as text. If no image at all has a label, there
    are two stand-ins, for self-supervised training with batch.labeled=0.
    size: pixels; the short side is resized to size / central and the center square is cropped,
    after the EXIF orientation is applied; see `images` for transparent and other uncommon images.
    channels: 3 for RGB, 1 for gray. corrupt: with 'gray' a damaged image is gray, and a warning
    names it when it is first read. Otherwise all files are decoded once at the start (cached until
    one changes): 'refuse' raises ValueError, 'skip' leaves damaged images out, with one warning.
    keep_bytes: a pool of at most this size as uint8 is decoded at the start and kept in memory;
    larger pools decode images whenever they are read.
    threads: for decoding; None for one per core.

    Raises ValueError for an invalid folder, CSV file or image.
    """
    encoded.check(size, central, corrupt, ('gray', 'refuse', 'skip'))
    if channels not in (1, 3):
        raise ValueError(f'channels is {channels}: give 3 for RGB or 1 for gray.')
    threads = encoded.count_threads(threads)
    root, found = files.find(path)
    labels = {file.label for file in found if file.label}
    classes = tuple(sorted({file.label for file in found if file.split == 'train' and file.label}))
    classes = classes if labels else NO_CLASSES
    _check(path, found, classes)
    form = encoded.Format(size, channels, central)
    label_of = {name: k for k, name in enumerate(classes)} | {None: -1}
    copies.warn(root, found, threads)
    parts, damaged = {}, {}
    for split in listing.SPLITS:
        chosen = [file for file in found if file.split == split]
        part = part_of(root, chosen, [label_of[file.label] for file in chosen])
        if corrupt != 'gray' and chosen:
            part, errors = _without_damaged(root, chosen, part, form, threads)
            damaged |= errors
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
    """The files with their labels, as a part of a pool that reads them from disk."""
    name = names.pack(file.name for file in found)

    def fetch(indices):
        return [(root / name[index]).read_bytes() for index in indices]

    def sizes():
        def stat(names):
            return [os.stat(root / one).st_size for one in names]

        starts = range(0, len(name), _STAT_CHUNK)
        with futures.ThreadPoolExecutor(_STAT_THREADS) as executor:
            chunks = executor.map(stat, (name[start : start + _STAT_CHUNK] for start in starts))
            return np.array([size for chunk in chunks for size in chunk], np.int64)

    return encoded.Part(fetch, np.array(label, np.int32), name, upright=True, sizes=sizes)


def _check(path: str, found: list[files.File], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(
            f'The labeled training pictures in {path} are of too few classes '
            f'({", ".join(classes) or "none"}): at least 2 are needed.'
        )
    allowed = set(classes)
    for file in found:
        if file.split != 'train' and file.label not in allowed:
            raise ValueError(
                f'{file.name} in {path} is for {file.split} and of class {file.label!r}, of which there '
                f'are no labeled training pictures: the classes are {", ".join(classes)}.'
            )


def _without_damaged(
    root: Path, chosen: list[files.File], part: encoded.Part, form: encoded.Format, threads: int
) -> tuple[encoded.Part, dict[files.File, str]]:
    """The images that can be decoded, and the errors of the others."""
    stamps = cache.stamps([str(root / name) for name in part.name])
    digest = hashlib.sha256(repr(stamps).encode(errors='surrogateescape')).hexdigest()

    def find():
        errors = encoded.find_damaged(part, form, str(root), threads)
        return {'number': np.array([*errors], np.int64), 'error': np.array([*errors.values()], str)}

    found = cache.load_or_compute('damaged', ['damaged 2', PIL.__version__, form, digest], find)
    errors = dict(zip(found['number'].tolist(), found['error'].tolist()))
    damaged = {chosen[index]: error for index, error in errors.items()}
    if not errors:
        return part, damaged
    good = [index for index in range(len(chosen)) if index not in errors]
    return part_of(root, [chosen[index] for index in good], part.label[good]), damaged


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
    for k, name in enumerate(classes):
        if classes != NO_CLASSES and k not in parts['train'].label:
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
