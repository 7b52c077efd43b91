"""From encoded pictures to uint8 arrays of one size: decoding, cutting out, resizing."""

import contextlib
import io
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
import tqdm
from PIL import Image, ImageOps

Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels, as in Pillow

# Of a JPEG picture the decoder can give 1/2, 1/4 or 1/8 of the size for less time. That much
# of it must be left, times the size wanted: on photos the result then differs from that of all
# pixels by 0.5 levels of 255 in the mean and 20 at most; with 1 by 1.5 and 70.
_LEFT = 2
# EXIF: its key of the orientation, and which orientations exchange height and width or turn an axis.
_ORIENTATION, _ON_ITS_SIDE = 0x0112, (5, 6, 7, 8)
_FROM_THE_RIGHT, _FROM_BELOW = (2, 3, 6, 7), (3, 4, 7, 8)
_CHUNK = 64  # images a thread takes at a time
_MANY = 2000  # from here on a pass over all images shows its progress


class Damaged(ValueError):
    """A picture that can not be decoded."""


def decode(
    encoded: bytes, size: int | None, channels: int, upright: bool, central: float = 1.0
) -> np.ndarray:
    """One picture as uint8 [H, W, channels]: 3 for RGB, 1 for gray.

    size: the short side is resized to round(size / central) and the middle square
    of `size` pixels cut out (bicubic); None leaves the picture as it is. upright: turn
    it as its EXIF orientation says.
    Raises Damaged where the picture can not be decoded.
    """
    if size is None:
        with _open(encoded) as image:
            return _pixels(_load(image, channels, upright))
    return crop(encoded, lambda *shape: middle(*shape, size, central), size, channels, upright)


def crop(
    encoded: bytes, box: Callable[[int, int], Box], size: int, channels: int, upright: bool
) -> np.ndarray:
    """A part of one picture, resized: uint8 [size, size, channels].

    box: (height, width) of the picture -> the part, (left, upper, right, lower).
    Bicubic with antialiasing, as `PIL.Image.resize`. Raises Damaged as `decode`.
    """
    with _open(encoded) as image:
        width, height = image.size
        turn = _orientation(image) if upright else 1
        if turn in _ON_ITS_SIDE:
            height, width = width, height
        left, upper, right, lower = box(height, width)
        fraction = min(right - left, lower - upper) / (_LEFT * size)
        if fraction >= 2 and image.format == 'JPEG':
            fraction = 1 << int(np.log2(min(fraction, 8)))
            image.draft(None, (image.width // fraction, image.height // fraction))
        whole = _load(image, channels, upright)
    # Sides at a fraction are rounded up, at the end that turning may have made the first.
    scale = 2.0 ** round(np.log2(whole.width / width))
    across = whole.width - scale * width if turn in _FROM_THE_RIGHT else 0
    down = whole.height - scale * height if turn in _FROM_BELOW else 0
    left, right = across + scale * left, min(across + scale * right, whole.width)
    upper, lower = down + scale * upper, min(down + scale * lower, whole.height)
    return _pixels(
        whole.resize((size, size), Image.Resampling.BICUBIC, (left, upper, right, lower))
    )


def middle(height: int, width: int, size: int, central: float) -> Box:
    """The part that is the middle square of `size` pixels once the short side has round(size / central)."""
    short = round(size / central)
    scale = short / min(width, height)
    wide, high = max(short, round(width * scale)), max(short, round(height * scale))
    left, upper = (wide - size) // 2, (high - size) // 2
    across, down = width / wide, height / high
    return left * across, upper * down, (left + size) * across, (upper + size) * down


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


@contextlib.contextmanager
def _decoding() -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # on damaged data Pillow raises errors of many types
        raise Damaged(str(error)) from error


def _open(encoded: bytes) -> Image.Image:
    with _decoding():
        return Image.open(io.BytesIO(encoded))


def _orientation(image: Image.Image) -> int:
    with _decoding():  # of a PNG file it may come last
        return image.getexif().get(_ORIENTATION, 1)


def _load(image: Image.Image, channels: int, upright: bool) -> Image.Image:
    """All pixels, in RGB or gray."""
    with _decoding():
        image.load()
        if upright:
            image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):  # 16 bits: convert() would clip at 255 instead of scaling
            image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
        mode = 'RGB' if channels == 3 else 'L'
        return image if image.mode == mode else image.convert(mode)


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
