"""From encoded pictures to uint8 arrays: decoding, fitting to a size, whole sets in threads."""

import functools
import io
from collections.abc import Callable
from concurrent import futures
from typing import BinaryIO

import numpy as np
import tqdm
from PIL import Image, ImageOps

_CHUNK = 64  # images a thread takes at a time
_MANY = 2000  # from here on a pass over all images shows its progress


def decode(
    file: str | bytes | BinaryIO, size: int | None, channels: int, upright: bool
) -> np.ndarray:
    """One picture as uint8 [H, W, channels]: 3 for RGB, 1 for gray.

    size: the short side is resized to it and the middle square cut out; None
    leaves the picture as it is. upright: turn it as its EXIF orientation says.
    Raises what Pillow raises, of many types, where the picture is damaged.
    """
    with Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        if (
            size is not None
        ):  # JPEG: decode at a fraction of the size, not below twice what is wanted
            image.draft(None, (2 * size, 2 * size))
        image.load()
        if upright:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):  # 16 bits: convert() would clip at 255 instead of scaling
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        mode = 'RGB' if channels == 3 else 'L'
        if image.mode != mode:
            image = image.convert(mode)
        if size is not None:
            image = _square(image, size)
        pixels = np.asarray(image)
    return pixels[..., None] if channels == 1 else pixels


def each(work: Callable[[int], None], count: int, threads: int, what: str) -> None:
    """work(0), ..., work(count - 1) in threads; the first error is raised. what: for the progress bar."""

    def chunk(start: int) -> int:
        numbers = range(start, min(start + _CHUNK, count))
        for number in numbers:
            work(number)
        return len(numbers)

    hidden = True if count < _MANY else None  # None: shown on a terminal only
    with (
        futures.ThreadPoolExecutor(threads) as executor,
        tqdm.tqdm(total=count, desc=what, unit='image', disable=hidden) as bar,
    ):
        for done in executor.map(chunk, range(0, count, _CHUNK)):
            bar.update(done)


def reader(load: Callable[[int], np.ndarray], threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """A `Pool.read` that loads images when they are asked for, in threads."""
    executor = futures.ThreadPoolExecutor(threads, thread_name_prefix='images')
    return functools.partial(_read, executor, load)


def _read(
    executor: futures.Executor, load: Callable[[int], np.ndarray], numbers: np.ndarray
) -> np.ndarray:
    return np.stack(list(executor.map(load, numbers)))


def _square(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    scale = size / min(width, height)
    width, height = max(size, round(width * scale)), max(size, round(height * scale))
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))
