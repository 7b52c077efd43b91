"""The interface of a data set: pools of images and labels, addressed by index."""

import functools
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np


class Pool(NamedTuple):
    """Examples addressed by index 0..N-1.

    `read` may be called from several threads at once, with indices in any order and with
    repeats.
    """

    # indices int [n] -> [n, H, W, C] uint8 (or float32 for points)
    read: Callable[[np.ndarray], np.ndarray]
    label: np.ndarray  # int32 [N]; -1 without a label
    name: Sequence[str]  # N names for reports (file names, tfds ids, '17', ...)
    # Crops of images that `read` does not return whole: (indices, box, size) -> uint8
    # [n, size, size, C], where box(i, height, width) is the part (left, upper, right, lower)
    # of image indices[i] that is resized. None if `read` returns whole images.
    crop: Callable[[np.ndarray, Callable, int], np.ndarray] | None = None
    # Which images cannot be decoded and are gray: indices -> bool [n]. Decodes those that have
    # not been read yet. None if nothing is decoded.
    damaged: Callable[[np.ndarray], np.ndarray] | None = None
    # Checksums (CRC-32) that identify the pixels without decoding them, by what they are of:
    # 'pixels' (arrays), 'files' (encoded images), 'sizes' (of files, in bytes) or 'settings'
    # (of computed images). None if there are none.
    content: Callable[[], dict[str, str]] | None = None


class Source(NamedTuple):
    """A data set. `train` has the labeled and the unlabeled examples."""

    train: Pool
    validation: Pool | None  # None: a split may hold out a part of train
    test: Pool | None
    classes: tuple[str, ...]  # label k is classes[k]
    image_shape: tuple[int, int, int]  # (H, W, C)
    central: float = (
        1.0  # side of the center crop that `read` returns, as a share of the short side
    )
    left_out: dict[str, dict[str, int]] = {}  # damaged images in no pool; see damage.Counts


def from_arrays(image: np.ndarray, label: np.ndarray, name: Sequence[str] | None = None) -> Pool:
    """A pool of images held in memory.

    image: [N, H, W, C] uint8 or float32; label: int [N], -1 for none;
    name: N names, or None for '0', '1', ...
    """
    if name is None:
        name = [str(index) for index in range(len(image))]
    if image.ndim != 4 or label.ndim != 1 or not len(image) == len(label) == len(name):
        raise ValueError(
            f'A pool takes images [N, H, W, C], labels [N] and N names, not {image.shape}, '
            f'{label.shape} and {len(name)} names.'
        )

    @functools.cache
    def content():
        return {'pixels': checksum(np.ascontiguousarray(image))}

    return Pool(lambda indices: image[indices], label.astype(np.int32), name, content=content)


def take(pool: Pool, indices: np.ndarray) -> Pool:
    """The examples with these indices, int [n], as a pool with indices 0..n-1."""
    read, crop, damaged, content = pool.read, pool.crop, pool.damaged, pool.content
    as_bytes = np.asarray(indices, '<i8').tobytes()

    def content_of_part():
        return {kind: checksum(text.encode() + as_bytes) for kind, text in content().items()}

    return Pool(
        lambda chosen: read(indices[chosen]),
        pool.label[indices],
        [pool.name[index] for index in indices],
        None if crop is None else lambda chosen, box, size: crop(indices[chosen], box, size),
        None if damaged is None else lambda chosen: damaged(indices[chosen]),
        content and content_of_part,
    )


def checksum(values: np.ndarray | bytes) -> str:
    """The CRC-32 of bytes or of a contiguous array, 8 hexadecimal digits; 1 GB/s on one core."""
    return f'{zlib.crc32(values):08x}'
