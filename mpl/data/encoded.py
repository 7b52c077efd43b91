"""Pools of encoded images: files or records that are decoded in threads when they are read."""

import functools
import logging
import math
import threading
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tqdm

from mpl.data import images, names, source
from mpl.parallel import processes

LARGEST = 1 << 14  # pixels of a side
GRAY = 128  # all pixels of an image that cannot be decoded
_CHUNK = 1024  # images read at once when a whole pool is read
_NAMED = 100  # damaged images of a pool that are named in a warning each


class Part(NamedTuple):
    """Images of one set or folder, addressed by index 0..N-1."""

    fetch: Callable[[Sequence[int]], list[bytes]]  # encoded; called in several threads at once
    label: np.ndarray  # int32 [N]; -1 without a label
    name: Sequence[str]
    upright: bool  # whether to apply the EXIF orientation
    sizes: Callable[[], np.ndarray] | None = None  # bytes of their files, int64 [any]


class Format(NamedTuple):
    """The format of decoded images."""

    size: int | None  # pixels; None: no resizing, all images have one shape
    channels: int  # 3 for RGB, 1 for gray
    central: float  # see `images.decode`

    def decode(self, encoded: bytes, upright: bool) -> np.ndarray:
        return images.decode(encoded, self.size, self.channels, upright, self.central)


def check(size: int | None, central: float, corrupt: str, allowed: Sequence[str]) -> None:
    """Raises ValueError if an argument common to sources is not allowed."""
    if size is not None and not 1 <= size <= LARGEST:
        raise ValueError(f'size is {size}: give a number from 1 to {LARGEST}.')
    if not 0 < central <= 1:
        raise ValueError(f'central is {central}: give a share above 0, up to 1.')
    if size is None and central != 1:
        raise ValueError(f'central is {central}, but pictures stay as they are: give a size too.')
    if corrupt not in allowed:
        raise ValueError(f'corrupt is {corrupt!r}: give {" or ".join(map(repr, allowed))}.')


def count_threads(threads: int | None) -> int:
    """`threads`; if None, the number of cores that this process may use."""
    if threads is None:
        return processes.count_cores()
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
    """The images of all parts, concatenated, as one pool.

    shape: (H, W, C) of the decoded images. what: for messages. A pool of at most keep_bytes as
    uint8 is decoded once and kept in memory.
    An image that cannot be decoded is gray (GRAY everywhere), also in a resumed run. A warning
    names it when a process first reads it (the first 100), and `damaged` of the pool returns which
    they are. Reading raises ValueError if more than 1 % of the images, and more than 100, are
    damaged, and OSError if their bytes cannot be read.
    The pool's `content` is a checksum of the encoded images if they are kept, else of the sizes of
    their files.
    """
    label = np.concatenate([part.label for part in parts]).astype(np.int32)
    name = parts[0].name if len(parts) == 1 else names.pack(n for p in parts for n in p.name)
    starts = np.cumsum([0] + [len(part.label) for part in parts])
    executor = futures.ThreadPoolExecutor(threads, thread_name_prefix='images')
    decoded, is_damaged = np.zeros(len(label), bool), np.zeros(len(label), bool)
    attempt = _gray_if_damaged(name, what, decoded, is_damaged)

    def read_many(indices, shape, load):
        """uint8 [n, *shape]; load: (place, encoded, upright) -> one image."""
        indices = np.asarray(indices)
        out = np.empty((len(indices), *shape), np.uint8)

        def read_chunk(places):
            at = np.searchsorted(starts, indices[places], side='right') - 1
            for p in np.unique(at):
                part, in_part = parts[p], places[at == p]
                fetched = part.fetch((indices[in_part] - starts[p]).tolist())
                for place, encoded in zip(in_part, fetched):
                    out[place] = attempt(indices[place], load, place, encoded, part.upright)

        chunks = min(len(indices), max(4 * threads, math.ceil(len(indices) / 64)))
        list(executor.map(read_chunk, np.array_split(np.arange(len(indices)), max(chunks, 1))))
        return out

    def read(indices):
        return read_many(indices, shape, lambda _, *encoded: form.decode(*encoded))

    def crop(indices, box, size):
        def load(place, encoded, upright):
            own_box = functools.partial(box, place)
            return images.crop(encoded, own_box, size, form.channels, upright)

        return read_many(indices, (size, size, form.channels), load)

    def damaged(indices):
        indices = np.asarray(indices)
        for chunk in _chunks(np.unique(indices[~decoded[indices]]), f'checking {what}'):
            read_many(chunk, shape, lambda _, *encoded: form.decode(*encoded))
        return is_damaged[indices]

    content = _sizes(parts)
    if len(label) * math.prod(shape) <= keep_bytes:
        checksums = np.zeros(len(label), np.uint32)

        def read_once(indices):
            def load(place, encoded, upright):
                checksums[indices[place]] = zlib.crc32(encoded)
                return form.decode(encoded, upright)

            return read_many(indices, shape, load)

        read = _keep(read_once, (len(label), *shape), what)
        content = functools.partial(dict, files=source.checksum(checksums))
    return source.Pool(read, label, name, None if form.size is None else crop, damaged, content)


def _sizes(parts: Sequence[Part]) -> Callable[[], dict[str, str]] | None:
    """The `content` of a pool that is not kept in memory."""
    if any(part.sizes is None for part in parts):
        return None

    @functools.cache
    def content():
        sizes = np.concatenate([part.sizes() for part in parts])
        return {'sizes': source.checksum(sizes.astype('<i8'))}

    return content


def find_damaged(part: Part, form: Format, what: str, threads: int) -> dict[int, str]:
    """Decodes all images; returns the errors of the damaged ones by index, ascending."""
    errors = {}

    def visit(index):
        (encoded,) = part.fetch([index])
        try:
            form.decode(encoded, part.upright)
        except images.Damaged as error:
            errors[index] = str(error)

    images.each(visit, len(part.label), threads, f'checking {what}')
    return dict(sorted(errors.items()))


def _gray_if_damaged(
    name: Sequence[str], what: str, decoded: np.ndarray, is_damaged: np.ndarray
) -> Callable:
    """(index, load, *arguments) -> load(*arguments), or GRAY for a damaged image.

    decoded, is_damaged: bool [N], set for images that were decoded, and for those that cannot be.
    """
    lock = threading.Lock()

    def attempt(index, load, *arguments):
        try:
            image = load(*arguments)
            decoded[index] = True
            return image
        except images.Damaged as error:
            with lock:
                new = not is_damaged[index]
                decoded[index] = is_damaged[index] = True
                count = np.count_nonzero(is_damaged)
            shown = names.printable(name[index])
            if new and count <= _NAMED:
                logging.warning('%s of %s cannot be decoded and is gray: %s', shown, what, error)
            if new and count == _NAMED:
                logging.warning(
                    'Further pictures of %s that cannot be decoded are not named.', what
                )
            if count > max(100, len(name) // 100):
                raise ValueError(
                    f'{count} of the {len(name)} pictures of {what} cannot be decoded, '
                    f'the last being {shown} ({error}): repair them first.'
                ) from error
            return GRAY

    return attempt


def _keep(read: Callable, shape: tuple[int, int, int, int], what: str) -> Callable:
    """`read` from memory, after one pass over all images."""
    image = np.empty(shape, np.uint8)
    for indices in _chunks(np.arange(len(image)), what):
        image[indices[0] : indices[-1] + 1] = read(indices)
    return lambda indices: image[indices]


def _chunks(indices: np.ndarray, what: str) -> Iterator[np.ndarray]:
    """The indices in chunks of _CHUNK, with a progress bar if there are many."""
    hidden = True if len(indices) < 2 * _CHUNK else None  # None: shown on a terminal only
    with tqdm.tqdm(total=len(indices), desc=what, unit='image', disable=hidden) as bar:
        for start in range(0, len(indices), _CHUNK):
            yield indices[start : start + _CHUNK]
            bar.update(min(_CHUNK, len(indices) - start))
