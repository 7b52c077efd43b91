"""Encoded images to uint8 arrays of one size: decoding, cropping, resizing.

All sources and commands decode alike. Transparent parts (an alpha channel, a transparent color, a
palette with alpha) are composited on white; 16 bits become 8, the high byte; CMYK and LAB become
RGB by Pillow's formulas; the first image of an animation or of several pages is read; color profiles
(ICC) are ignored, and values taken as sRGB. These images count as damaged: those that Pillow can
not decode, empty files, floating-point and 32-bit integer pixels (whose range no file states), a
transparent color in RGB of 16 bits, and more than MOST_PIXELS pixels. A JPEG file with an error
that its decoder tolerates is read as in a viewer.
"""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator
from concurrent import futures

import numpy as np
import tqdm
from PIL import Image, UnidentifiedImageError

# Of one image; Pillow's default limit is the same. In RGBA this takes 0.7 GB.
MOST_PIXELS = 178_956_970
# Pillow warns from half of this value on.
warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)

Box = tuple[float, float, float, float]  # left, upper, right, lower, in pixels, as in Pillow

# The JPEG decoder can return 1/2, 1/4 or 1/8 of the size in less time. The reduced image must still
# be this factor larger than the output: on photos the result then differs from that of all pixels
# by 0.5 levels of 255 in the mean and 20 at most; with a factor of 1 by 1.5 and 70.
_LEFT = 2
# EXIF: the key of the orientation, the transposition for each, and the orientations that exchange
# height and width or reverse an axis.
_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = (5, 6, 7, 8)
_FROM_THE_RIGHT, _FROM_BELOW = (2, 3, 6, 7), (3, 4, 7, 8)
_ALPHA = ('RGBA', 'RGBa', 'LA', 'La', 'PA')
# How Pillow unpacks PNG samples of few bits, and what it multiplies them by to fill 0..255.
_FEW_BITS = {'L;2': 85, 'L;4': 17}
_CHUNK = 64  # images per task of a thread
_MANY = 2000  # number of images from which on a pass shows its progress


class Damaged(ValueError):
    """An image that cannot be decoded."""


def decode(
    encoded: bytes, size: int | None, channels: int, upright: bool, central: float = 1.0
) -> np.ndarray:
    """One image as uint8 [H, W, channels]: 3 for RGB, 1 for gray.

    size: the short side is resized to round(size / central) and the center square of `size` pixels
    is cropped (bicubic); None does not resize. upright: whether to apply the EXIF orientation.
    Raises Damaged if the image cannot be decoded.
    """
    if size is None:
        with _open(encoded) as image:
            packing = _packing(image)
            _load(image)
            turn = _orientation(image) if upright else 1
            return _pixels(_convert(image, packing, channels, turn))
    return crop(encoded, lambda *shape: middle(*shape, size, central), size, channels, upright)


def crop(
    encoded: bytes, box: Callable[[int, int], Box], size: int, channels: int, upright: bool
) -> np.ndarray:
    """A resized crop of one image: uint8 [size, size, channels].

    box: (height, width) of the image -> the crop, (left, upper, right, lower).
    Bicubic with antialiasing, as `PIL.Image.resize`. Raises Damaged as `decode`.
    """
    with _open(encoded) as image:
        packing = _packing(image)
        if image.format != 'JPEG':  # Of others the size and EXIF may be known only then.
            _load(image)
        width, height = image.size
        turn = _orientation(image) if upright else 1
        if turn in _ON_ITS_SIDE:
            height, width = width, height
        left, upper, right, lower = box(height, width)
        fraction = min(right - left, lower - upper) / (_LEFT * size)
        if fraction >= 2 and image.format == 'JPEG':
            fraction = 1 << int(np.log2(min(fraction, 8)))
            image.draft(None, (image.width // fraction, image.height // fraction))
        _load(image)
        whole = _convert(image, packing, channels, turn)
    # Sides at a fraction are rounded up, at the end that turning may have made the first.
    scale = 2.0 ** round(np.log2(whole.width / width))
    across = whole.width - scale * width if turn in _FROM_THE_RIGHT else 0
    down = whole.height - scale * height if turn in _FROM_BELOW else 0
    left, right = across + scale * left, min(across + scale * right, whole.width)
    upper, lower = down + scale * upper, min(down + scale * lower, whole.height)
    return _pixels(
        whole.resize((size, size), Image.Resampling.BICUBIC, (left, upper, right, lower))
    )


def thumbnail(encoded: bytes, side: int) -> Image.Image:
    """The whole of one image in RGB, upright, with at most `side` pixels on each side.

    Raises Damaged as `decode`.
    """
    with _open(encoded) as image:
        packing = _packing(image)
        if image.format == 'JPEG':
            image.draft(None, (side, side))
        _load(image)
        whole = _convert(image, packing, 3, _orientation(image))
    whole.thumbnail((side, side), Image.Resampling.BICUBIC)
    return whole


def middle(height: int, width: int, size: int, central: float) -> Box:
    """The box that is the center square of `size` pixels if the short side has round(size / central)."""
    short = round(size / central)
    scale = short / min(width, height)
    wide, high = max(short, round(width * scale)), max(short, round(height * scale))
    left, upper = (wide - size) // 2, (high - size) // 2
    across, down = width / wide, height / high
    return left * across, upper * down, (left + size) * across, (upper + size) * down


def each(work: Callable[[int], None], count: int, threads: int, what: str) -> None:
    """work(0), ..., work(count - 1) in threads; the first error is raised. what: for the progress bar."""

    def chunk(start: int) -> int:
        indices = range(start, min(start + _CHUNK, count))
        for index in indices:
            work(index)
        return len(indices)

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
    except (MemoryError, Damaged):
        raise
    except UnidentifiedImageError as error:
        raise Damaged('it is no picture of a known format') from error
    except Image.DecompressionBombError as error:
        raise Damaged(f'it has more than {MOST_PIXELS:,} pixels') from error
    except Exception as error:  # on damaged data Pillow raises errors of many types
        raise Damaged(str(error) or type(error).__name__) from error


def _open(encoded: bytes) -> Image.Image:
    if not encoded:
        raise Damaged('the file is empty')
    with _decoding():
        image = Image.open(io.BytesIO(encoded))
        if image.width * image.height > MOST_PIXELS:  # Whatever limit others have set in Pillow.
            raise Damaged(f'it has more than {MOST_PIXELS:,} pixels')
        return image


def _load(image: Image.Image) -> None:
    with _decoding():
        image.load()


def _packing(image: Image.Image) -> str:
    """How a PNG file holds its samples ('RGB;16B'), before it is loaded; '' of other formats."""
    return image.tile[0][3] if image.format == 'PNG' and image.tile else ''


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 if there is none or it cannot be read, as in viewers."""
    try:
        turn = image.getexif().get(_ORIENTATION)
    except Exception:  # of many types
        return 1
    return turn if turn in _TURNS else 1


def _convert(image: Image.Image, packing: str, channels: int, turn: int) -> Image.Image:
    """A loaded picture upright, on white, in RGB or gray."""
    with _decoding():
        flat = _on_white(image, packing)
        if flat.mode not in ('RGB', 'L'):
            flat = flat.convert('L' if flat.mode == '1' else 'RGB')
        mode = 'RGB' if channels == 3 else 'L'
        flat = flat if flat.mode == mode else flat.convert(mode)
        return flat.transpose(_TURNS[turn]) if turn != 1 else flat


def _on_white(image: Image.Image, packing: str) -> Image.Image:
    """A picture of 8 bits without transparent parts."""
    clear = image.info.get('transparency')
    if image.mode == 'F' or image.mode == 'I' and image.format not in ('PNG', 'PPM'):
        kind = 'floating-point values' if image.mode == 'F' else '32-bit integers'
        raise Damaged(f'its pixels are {kind}, of no known range: save it with 8 or 16 bits')
    if image.mode in _ALPHA or image.mode == 'P' and (clear is not None or _has_alpha(image)):
        page = Image.new('RGBA', image.size, 'white')
        whole = image.convert('LA') if image.mode == 'La' else image
        page.alpha_composite(whole.convert('RGBA'))
        return page.convert('RGB')
    if clear is None and not image.mode.startswith('I'):
        return image
    if clear is not None and packing == 'RGB;16B':
        raise Damaged('its transparent color is of 16 bits: save it with an alpha channel')
    is_bits = image.mode == '1'
    pixels = np.asarray(image.convert('L') if is_bits else image)
    opaque = True
    if clear is not None:  # One color is transparent.
        if packing in _FEW_BITS:
            clear *= _FEW_BITS[packing]
        opaque = pixels != (255 * bool(clear) if is_bits else clear)
        if pixels.ndim == 3:
            opaque = opaque.any(-1, keepdims=True)
    if image.mode.startswith('I'):
        pixels = pixels >> 8  # convert() would clip at 255 instead of scaling
    return Image.fromarray(np.where(opaque, pixels, 255).astype(np.uint8))


def _has_alpha(image: Image.Image) -> bool:
    """Whether the palette of a picture has alpha values."""
    return image.palette is not None and image.palette.mode.endswith('A')


def _pixels(image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels
