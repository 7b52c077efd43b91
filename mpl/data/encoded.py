"""Pools of encoded pictures: files or records that are decoded in threads whenever they are asked for."""

import functools
import logging
import math
import os
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tqdm

from mpl.data import images, names, source

GRAY = 128  # every pixel of a picture that can not be decoded
_AT_ONCE = 1024  # pictures read at once when a pool is kept, or looked through for damage
_NAMED = 100  # damaged pictures of a pool that are named in a warning each


class Part(NamedTuple):
    """Pictures of one set or folder, addressed by number 0..N-1."""

    fetch: Callable[[Sequence[int]], list[bytes]]  # encoded; called in several threads at once
    label: np.ndarray  # int32 [N]; -1 where there is none
    name: Sequence[str]
    upright: bool  # whether to turn pictures as EXIF says
    sizes: Callable[[], np.ndarray] | None = None  # bytes of the files that hold them, int64 [any]


class Format(NamedTuple):
    """What pictures become."""

    size: int | None  # pixels; None: they stay as they are, all of one shape
    channels: int  # 3 for RGB, 1 for gray
    central: float  # see `images.decode`

    def decode(self, encoded: bytes, upright: bool) -> np.ndarray:
        return images.decode(encoded, self.size, self.channels, upright, self.central)


def check(size: int | None, central: float, corrupt: str, allowed: Sequence[str]) -> None:
    """Raises ValueError where one of the arguments that sources share is not allowed."""
    if size is not None and size < 1:
        raise ValueError(f'size is {size}: give a number from 1 up.')
    if not 0 < central <= 1:
        raise ValueError(f'central is {central}: give a share above 0, up to 1.')
    if size is None and central != 1:
        raise ValueError(f'central is {central}, but pictures stay as they are: give a size too.')
    if corrupt not in allowed:
        raise ValueError(f'corrupt is {corrupt!r}: give {" or ".join(map(repr, allowed))}.')


def count_threads(threads: int | None) -> int:
    """`threads`, or where it is None one for each core that this process may use."""
    if threads is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    if threads < 1:
        raise ValueError(f'threads is {threads}: give a number from 1 up, or None for all cores.')
    return threads


def pool(
    parts: Sequence[Part],
    form: Format,
    shape: tuple[int, int, int],
    what: str,
    keep_bytes: int,
    threads: int,
) -> source.Pool:
    """The pictures of all parts, one part after the other, in one numbering.

    shape: (H, W, C) of every picture in that form. what: for messages. A pool that takes
    up to keep_bytes as uint8 is decoded once and kept.
    A picture that can not be decoded is gray (GRAY everywhere), by number alone, so that
    a resumed run sees the same; the first time in a process its name is in a warning (the
    first 100 of them), and `damaged` of the pool tells which they are.
    Reading raises ValueError where more than 1 % of the pictures, and more than
    100, are damaged, and OSError where bytes can not be had at all.
    The pool's `content` is a checksum of the encoded pictures where they are kept, or else of the
    sizes of their files.
    """
    label = np.concatenate([part.label for part in parts]).astype(np.int32)
    name = parts[0].name if len(parts) == 1 else names.pack(n for p in parts for n in p.name)
    starts = np.cumsum([0] + [len(part.label) for part in parts])
    executor = futures.ThreadPoolExecutor(threads, thread_name_prefix='images')
    tried, bad = np.zeros(len(label), bool), np.zeros(len(label), bool)
    attempt = _forgiving(name, what, tried, bad)

    def read_many(numbers, shape, load):
        """uint8 [n, *shape]; load: (place, encoded, upright) -> one picture."""
        numbers = np.asarray(numbers)
        out = np.empty((len(numbers), *shape), np.uint8)

        def chunk(places):
            at = np.searchsorted(starts, numbers[places], side='right') - 1
            for number in np.unique(at):
                part, mine = parts[number], places[at == number]
                fetched = part.fetch((numbers[mine] - starts[number]).tolist())
                for place, encoded in zip(mine, fetched):
                    out[place] = attempt(numbers[place], load, place, encoded, part.upright)

        several = min(len(numbers), max(4 * threads, math.ceil(len(numbers) / 64)))
        list(executor.map(chunk, np.array_split(np.arange(len(numbers)), max(several, 1))))
        return out

    def read(numbers):
        return read_many(numbers, shape, lambda _, *encoded: form.decode(*encoded))

    def crop(numbers, box, size):
        def load(place, encoded, upright):
            here = functools.partial(box, place)
            return images.crop(encoded, here, size, form.channels, upright)

        return read_many(numbers, (size, size, form.channels), load)

    def damaged(numbers):
        numbers = np.asarray(numbers)
        for piece in _pieces(np.unique(numbers[~tried[numbers]]), f'checking {what}'):
            read_many(piece, shape, lambda _, *encoded: form.decode(*encoded))
        return bad[numbers]

    content = _sizes(parts)
    if len(label) * math.prod(shape) <= keep_bytes:
        checksums = np.zeros(len(label), np.uint32)

        def read_once(numbers):
            def load(place, encoded, upright):
                checksums[numbers[place]] = zlib.crc32(encoded)
                return form.decode(encoded, upright)

            return read_many(numbers, shape, load)

        read = _keep(read_once, (len(label), *shape), what)
        content = functools.partial(dict, files=source.checksum(checksums))
    return source.Pool(read, label, name, None if form.size is None else crop, damaged, content)


def _sizes(parts: Sequence[Part]) -> Callable[[], dict[str, str]] | None:
    """The `content` of a pool that is not kept."""
    if any(part.sizes is None for part in parts):
        return None

    @functools.cache
    def content():
        sizes = np.concatenate([part.sizes() for part in parts])
        return {'sizes': source.checksum(sizes.astype('<i8'))}

    return content


def find_damaged(part: Part, form: Format, what: str, threads: int) -> dict[int, str]:
    """Decodes every picture; what is wrong with those that can not be, by number, ascending."""
    wrong = {}

    def visit(number):
        (encoded,) = part.fetch([number])
        try:
            form.decode(encoded, part.upright)
        except images.Damaged as error:
            wrong[number] = str(error)

    images.each(visit, len(part.label), threads, f'checking {what}')
    return dict(sorted(wrong.items()))


def _forgiving(name: Sequence[str], what: str, tried: np.ndarray, bad: np.ndarray) -> Callable:
    """(number, load, *arguments) -> load(*arguments), or GRAY for a damaged picture.

    tried, bad: bool [N], set where a picture has been met, and where it is damaged.
    """
    lock = threading.Lock()

    def attempt(number, load, *arguments):
        try:
            image = load(*arguments)
            tried[number] = True
            return image
        except images.Damaged as error:
            with lock:
                new = not bad[number]
                tried[number] = bad[number] = True
                count = np.count_nonzero(bad)
            shown = names.printable(name[number])
            if new and count <= _NAMED:
                logging.warning('%s of %s can not be decoded and is gray: %s', shown, what, error)
            if new and count == _NAMED:
                logging.warning(
                    'Further pictures of %s that can not be decoded are not named.', what
                )
            if count > max(100, len(name) // 100):
                raise ValueError(
                    f'{count} of the {len(name)} pictures of {what} can not be decoded, '
                    f'the last being {shown} ({error}): mend them first.'
                ) from error
            return GRAY

    return attempt


def _keep(read: Callable, shape: tuple[int, int, int, int], what: str) -> Callable:
    """`read` from memory, after one pass over all pictures."""
    kept = np.empty(shape, np.uint8)
    for numbers in _pieces(np.arange(len(kept)), what):
        kept[numbers[0] : numbers[-1] + 1] = read(numbers)
    return lambda numbers: kept[numbers]


def _pieces(numbers: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """The numbers, _AT_ONCE at a time; shows the progress of what is done with many."""
    hidden = True if len(numbers) < 2 * _AT_ONCE else None  # None: shown on a terminal only
    with tqdm.tqdm(total=len(numbers), desc=what, unit='image', disable=hidden) as bar:
        for start in range(0, len(numbers), _AT_ONCE):
            yield numbers[start : start + _AT_ONCE]
            bar.update(min(_AT_ONCE, len(numbers) - start))
