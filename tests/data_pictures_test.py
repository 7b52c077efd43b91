"""Encoded pictures as users bring them: right pixels or Damaged, and nothing else (property-based)."""

import io
import warnings

import chex
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from mpl.data import images

SIDE = st.integers(1, 24)
FEW = settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck)
)
# What the formats of EXTENSIONS and TIFF can hold.
WRITES = {
    'PNG': ('1', 'L', 'LA', 'I;16', 'P', 'RGB', 'RGBA'),
    'JPEG': ('1', 'L', 'RGB', 'CMYK', 'YCbCr'),
    'WEBP': ('L', 'P', 'RGB', 'RGBA'),
    'BMP': ('1', 'L', 'P', 'RGB', 'RGBA'),
    'GIF': ('1', 'L', 'P', 'RGB', 'RGBA'),
    'TIFF': ('1', 'L', 'LA', 'P', 'PA', 'RGB', 'RGBA', 'RGBX', 'CMYK', 'LAB', 'I;16', 'I', 'F'),
}
KINDS = [(form, mode) for form, modes in WRITES.items() for mode in modes]


@st.composite
def pictures(draw):
    """The bytes of a file, and its Pillow format and mode as they were written."""
    form, mode = draw(st.sampled_from(KINDS))
    height, width = draw(SIDE), draw(SIDE)
    random = np.random.RandomState(draw(st.integers(0, 99)))
    rgba = random.randint(0, 256, (height, width, 4), np.uint8)
    if mode in ('I;16', 'I'):
        image = Image.fromarray(random.randint(0, 65536, (height, width)).astype(np.uint16))
        image = image if mode == 'I;16' else image.convert('I')
    elif mode == 'F':
        image = Image.fromarray(random.rand(height, width).astype(np.float32))
    elif mode in ('1', 'L', 'CMYK', 'YCbCr', 'RGB', 'P', 'RGBX'):
        image = Image.fromarray(rgba[..., :3].copy()).convert(mode)
    elif mode == 'LAB':
        image = Image.frombytes('LAB', (width, height), rgba[..., :3].tobytes())
    elif mode == 'PA':
        image = Image.fromarray(rgba[..., :3].copy()).convert('P').convert('PA')
    else:
        image = Image.fromarray(rgba).convert(mode)
    options = {}
    if form == 'PNG' and mode == 'P' and draw(st.booleans()):
        options['transparency'] = draw(st.sampled_from([3, bytes(range(256))]))
    if form == 'PNG' and mode in ('L', 'RGB', 'I;16') and draw(st.booleans()):
        pixel = image.getpixel((0, 0))
        options['transparency'] = pixel
    if form == 'WEBP':
        options['lossless'] = True
    if form in ('PNG', 'JPEG', 'WEBP'):
        exif = Image.Exif()
        exif[0x0112] = draw(st.sampled_from([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]))
        options['exif'] = exif.tobytes()
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue(), form, mode


def shown(encoded):
    """What a viewer shows on white: float [H, W, 3], composited in numpy from Pillow's RGBA."""
    with Image.open(io.BytesIO(encoded)) as image:
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith('I'):
            pixels = np.asarray(image).astype(float)
            if 'transparency' in image.info:
                pixels[pixels == image.info['transparency']] = 65535
            return np.repeat((pixels // 256)[..., None], 3, -1)
        if image.mode in ('CMYK', 'LAB'):
            image = image.convert('RGB')
        rgba = np.asarray(image.convert('RGBA'), float)
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


@FEW
@given(pictures(), st.integers(1, 20))
def test_pixels_are_those_a_viewer_shows(picture, size):
    encoded, form, mode = picture
    if mode in ('F', 'I'):
        with pytest.raises(images.Damaged, match='save it with 8 or 16 bits'):
            images.decode(encoded, None, 3, True)
        return
    image, expected = images.decode(encoded, None, 3, True), shown(encoded)
    chex.assert_type(image, np.uint8)
    chex.assert_equal_shape([image, expected])
    assert np.abs(image - expected).max() <= 1
    gray = images.decode(encoded, None, 1, True)
    chex.assert_shape(gray, (*expected.shape[:2], 1))
    assert np.abs(gray[..., 0] - expected @ [0.299, 0.587, 0.114]).max() <= 2
    if form == 'JPEG':
        return  # Of it the decoder gives less; see data_encoded_test.
    # What is resized are these pixels. Bicubic weights enlarge what rounding does to transparent ones.
    square = images.crop(encoded, lambda height, width: (0, 0, width, height), size, 3, True)
    page = Image.fromarray(np.rint(expected).astype(np.uint8))
    resized = np.asarray(page.resize((size, size), Image.Resampling.BICUBIC), int)
    assert np.abs(square - resized).max() <= 4


@FEW
@given(pictures(), st.data())
def test_what_is_cut_or_changed_is_read_or_damaged(picture, data):
    encoded = bytearray(picture[0])
    if data.draw(st.booleans()):
        del encoded[data.draw(st.integers(0, len(encoded))) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if encoded:
            encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's, of damaged EXIF
        for channels, size in ((3, 8), (1, None)):
            try:
                image = images.decode(bytes(encoded), size, channels, True)
            except images.Damaged as error:
                assert str(error) and '0x' not in str(error)
            else:
                assert image.dtype == np.uint8 and image.shape[-1] == channels and image.size
