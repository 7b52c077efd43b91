"""What a data set is: pools of images and labels, addressed by example number."""

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Pool(NamedTuple):
    """Examples addressed by number 0..N-1.

    `read` may be called from several threads at once, with the numbers in any
    order and with repeats.
    """

    read: Callable[
        [np.ndarray], np.ndarray
    ]  # int [n] -> [n, H, W, C] uint8 (or float32 for points)
    label: np.ndarray  # int32 [N]; -1 where there is no label
    name: Sequence[str]  # N names for reports (file names, tfds ids, '17', ...)
    # Parts of pictures of which `read` does not give the whole: (numbers, box, size) -> uint8
    # [n, size, size, C], where box(i, height, width) is the part (left, upper, right, lower)
    # of picture numbers[i], which is resized. None: `read` gives pictures whole.
    crop: Callable[[np.ndarray, Callable, int], np.ndarray] | None = None
    # Which pictures can not be decoded and are gray: numbers -> bool [n]. Decodes those that have
    # not been read yet. None: there is nothing to decode.
    damaged: Callable[[np.ndarray], np.ndarray] | None = None
    # What is known of the pixels without decoding them, as CRC-32 by what it is computed from:
    # 'pixels' (of arrays), 'files' (encoded pictures), 'sizes' (of files, in bytes) or 'settings'
    # (of images that are computed). None: nothing.
    content: Callable[[], dict[str, str]] | None = None


class Source(NamedTuple):
    """A data set. `train` holds labeled and unlabeled examples in one numbering."""

    train: Pool
    validation: Pool | None  # None: splits carve one out of train
    test: Pool | None
    classes: tuple[str, ...]  # label k is classes[k]
    image_shape: tuple[int, int, int]  # (H, W, C)
    central: float = 1.0  # share of the resized short side that `read` shows of files
    left_out: dict[str, dict[str, int]] = {}  # damaged pictures in no pool; see damage.Counts


def from_arrays(image: np.ndarray, label: np.ndarray, name: Sequence[str] | None = None) -> Pool:
    """A pool of images held in memory.

    image: [N, H, W, C] uint8 or float32; label: int [N], -1 for none;
    name: N names, or None for '0', '1', ...
    """
    if name is None:
        name = [str(number) for number in range(len(image))]
    if image.ndim != 4 or label.ndim != 1 or not len(image) == len(label) == len(name):
        raise ValueError(
            f'A pool wants images [N, H, W, C], labels [N] and N names, not {image.shape}, '
            f'{label.shape} and {len(name)} names.'
        )

    @functools.cache
    def content():
        return {'pixels': checksum(np.ascontiguousarray(image))}

    return Pool(lambda numbers: image[numbers], label.astype(np.int32), name, content=content)


def take(pool: Pool, numbers: np.ndarray) -> Pool:
    """The examples of these numbers, int [n], as a pool of their own."""
    read, cut, bad, whole = pool.read, pool.crop, pool.damaged, pool.content
    crop = None if cut is None else lambda chosen, box, size: cut(numbers[chosen], box, size)
    damaged = None if bad is None else lambda chosen: bad(numbers[chosen])
    name = [pool.name[number] for number in numbers]
    chosen_numbers = np.asarray(numbers, '<i8').tobytes()

    def content():
        return {kind: checksum(text.encode() + chosen_numbers) for kind, text in whole().items()}

    return Pool(
        lambda chosen: read(numbers[chosen]),
        pool.label[numbers],
        name,
        crop,
        damaged,
        whole and content,
    )


def checksum(values: np.ndarray | bytes) -> str:
    """The CRC-32 of bytes or of a contiguous array, 8 hexadecimal digits; 1 GB/s on one core."""
    return f'{zlib.crc32(values):08x}'
