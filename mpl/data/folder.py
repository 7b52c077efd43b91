"""Your own pictures: a folder of class folders, or a CSV file that lists them."""

import logging
from pathlib import Path

import numpy as np

from mpl.data import files, images, source


def make(
    path: str,
    size: int,
    channels: int = 3,
    corrupt: str = 'refuse',
    keep_bytes: int = 4 << 30,
    threads: int = 8,
) -> source.Source:
    """The pictures in a folder as [size, size, channels], numbered in the order of their paths.

    path: a folder with labeled/<class>/ and, where wanted, unlabeled/,
    validation/<class>/ and test/<class>/, each with .jpg, .jpeg, .png, .webp or .bmp
    files at any depth (names that begin with a dot are passed over); or a CSV file
    with the columns path, label and optionally split (train, validation or test;
    empty for train), whose paths are relative to it and whose empty labels mean
    unlabeled. Classes are those of the labeled training pictures, sorted as text.
    size: pixels; the short side is resized to it and the middle square cut out, upright
    as EXIF says. channels: 3 for RGB, 1 for gray. corrupt: every file is decoded once
    at the start; with 'refuse' damaged ones raise ValueError, with 'skip' they are left
    out and named in one warning. keep_bytes: a pool that takes up to so many bytes
    as uint8 is kept in memory; pictures of a larger one are decoded whenever asked for.

    Raises ValueError where the folder, the CSV file or a picture is not as it must be.
    """
    if size < 1 or threads < 1:
        raise ValueError(f'size is {size} and threads {threads}: give numbers from 1 up.')
    if channels not in (1, 3):
        raise ValueError(f'channels is {channels}: give 3 for RGB or 1 for gray.')
    if corrupt not in ('skip', 'refuse'):
        raise ValueError(f"corrupt is {corrupt!r}: give 'skip' or 'refuse'.")
    root, found = files.find(path)
    classes = tuple(sorted({file.label for file in found if file.split == 'train' and file.label}))
    _check(path, found, classes)
    pools, damaged = {}, []
    for split in files.SPLITS:
        chosen = [file for file in found if file.split == split]
        pool, bad = _pool(root, chosen, classes, (size, size, channels), keep_bytes, threads)
        pools[split] = pool if chosen else None
        damaged += bad
    if damaged:
        _report(path, damaged, corrupt)
        for split, pool in pools.items():
            if pool is not None and not len(pool.label):
                raise ValueError(f'No picture for {split} in {path} can be read.')
        for number, name in enumerate(classes):
            if number not in pools['train'].label:
                raise ValueError(
                    f'No labeled training picture of class {name!r} in {path} can be read: '
                    'mend one or remove the class.'
                )
    return source.Source(
        pools['train'], pools['validation'], pools['test'], classes, (size, size, channels)
    )


def _check(path: str, found: list[files.File], classes: tuple[str, ...]) -> None:
    if len(classes) < 2:
        raise ValueError(
            f'The labeled training pictures in {path} are of too few classes '
            f'({", ".join(classes) or "none"}): at least 2 are needed.'
        )
    for file in found:
        if file.split != 'train' and file.label not in classes:
            raise ValueError(
                f'{file.name} in {path} is for {file.split} and of class {file.label!r}, of which there '
                f'are no labeled training pictures: the classes are {", ".join(classes)}.'
            )


def _pool(
    root: Path,
    chosen: list[files.File],
    classes: tuple[str, ...],
    shape: tuple[int, int, int],
    keep_bytes: int,
    threads: int,
) -> tuple[source.Pool, list[str]]:
    """The readable pictures, and what is wrong with each of the others."""

    def load(place: int) -> np.ndarray:
        return images.decode(str(root / chosen[place].name), shape[0], shape[2], upright=True)

    keep = len(chosen) * np.prod(shape, dtype=np.int64) <= keep_bytes
    kept = np.empty((len(chosen), *shape), np.uint8) if keep else None
    wrong = {}

    def visit(place: int) -> None:
        try:
            image = load(place)
        except Exception as error:  # on damaged data Pillow raises errors of many types
            wrong[place] = f'{chosen[place].name} ({error})'
            return
        if keep:
            kept[place] = image

    images.each(visit, len(chosen), threads, f'checking {root}')
    good = np.array([place for place in range(len(chosen)) if place not in wrong], np.int64)
    number = {name: number for number, name in enumerate(classes)} | {None: -1}
    label = np.array([number[chosen[place].label] for place in good], np.int32)
    name = [chosen[place].name for place in good]
    if keep:
        pool = source.from_arrays(kept[good] if wrong else kept, label, name)
    else:
        pool = source.Pool(images.reader(lambda example: load(good[example]), threads), label, name)
    return pool, [wrong[place] for place in sorted(wrong)]


def _report(path: str, damaged: list[str], corrupt: str) -> None:
    listed = '; '.join(damaged[:100]) + ('; ...' if len(damaged) > 100 else '')
    if corrupt == 'refuse':
        raise ValueError(
            f'{len(damaged)} pictures in {path} cannot be read: {listed}. '
            "Mend or remove them, or set corrupt='skip' to leave them out."
        )
    logging.warning(
        '%d pictures in %s cannot be read and are left out: %s.', len(damaged), path, listed
    )
