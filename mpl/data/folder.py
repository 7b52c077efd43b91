"""Your own images: a folder of class folders, or a CSV file that lists them."""

import collections
import hashlib
import logging
import os
from concurrent import futures
from pathlib import Path

import numpy as np
import PIL

from mpl.data import (
    cache,
    copies,
    damage,
    encoded,
    files,
    label_file,
    listing,
    names,
    overlay,
    source,
)

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
    classes: tuple = (),
    labels: str = '',
) -> source.Source:
    """The images in a folder as [size, size, channels], sorted by path.

    path: a folder with labeled/<class>/ and, if desired, unlabeled/, validation/<class>/ and
    test/<class>/, each with .jpg, .jpeg, .png, .webp or .bmp files at any depth; links are
    followed, and one warning counts other entries (see `walk`). Or a CSV file with the columns
    path, label and optionally split (train, validation or test; empty for train). Its paths are
    relative to it, and an empty label means unlabeled. A file in two parts or classes, by whatever
    names and links, raises ValueError; a warning counts copies of the same bytes (see `copies`).
    classes: names of the classes, in the order of their numbers; then labeled/ and labels may be
    missing, and a class may have no labeled image yet. By default those of the labeled training
    images, sorted as text. If no image at all has a label, there are two stand-ins, for self-supervised
    training with batch.labeled=0.
    labels: a file of labels of training images, see `label_file`; requires `classes`. An image has
    the label that most annotators gave it, and none with a tie or SKIP. Images are never moved, so
    their indices do not change.
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
    if labels and not classes:
        raise ValueError(
            'labels need classes: give the names of all classes, so that one that is first met '
            'later does not change the network.'
        )
    root, found = files.find(path, may_lack_labels=bool(classes))
    is_fixed = bool(classes)
    _check_fixed(classes)
    if not is_fixed:
        named = {file.label for file in found if file.split == 'train' and file.label}
        classes = tuple(sorted(named)) if any(file.label for file in found) else NO_CLASSES
    _check(path, found, classes, is_fixed)
    if labels:
        found = overlay.apply(found, files.expand(labels), path, classes)
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
        _check_left(path, parts, () if is_fixed else classes)
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


def _check_fixed(classes: tuple) -> None:
    if not all(isinstance(name, str) and name.strip() == name and name for name in classes):
        raise ValueError(f'classes are {classes}: give names, without spaces at their ends.')
    if label_file.SKIP in classes:
        raise ValueError(
            f'classes have {label_file.SKIP!r}, the answer for images without a class: '
            'give that class another name.'
        )
    if len(set(classes)) < len(classes) or len(classes) == 1:
        raise ValueError(f'classes are {", ".join(classes)}: give at least 2, each once.')


def _check(path: str, found: list[files.File], classes: tuple[str, ...], is_fixed: bool) -> None:
    if len(classes) < 2:
        raise ValueError(
            f'The labeled training pictures in {path} are of too few classes '
            f'({", ".join(classes) or "none"}): at least 2 are needed.'
        )
    allowed = set(classes)
    for file in found:
        if is_fixed and file.label is not None and file.label not in allowed:
            raise ValueError(
                f'{file.name} in {path} is of class {file.label!r}, which is not among the classes '
                f'of the config: {", ".join(classes)}.'
            )
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
                'repair one or remove the class.'
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
            "Repair or remove them, or set corrupt='skip' to leave them out."
        )
    logging.warning(
        '%d pictures in %s cannot be read and are left out: %s. %s',
        len(damaged), path, listed, ' '.join(damage.warnings({}, left_out)),
    )  # fmt: skip
