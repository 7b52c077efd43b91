"""Decoding pictures, fitting them to a size, and passes over whole sets."""

import io
import struct
import threading
import warnings
import zlib

import chex
import numpy as np
import pytest
from PIL import Image, ImageOps

from mpl.data import images


def encoded(pixels, form='PNG', **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def halves(height, width):
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return pixels


def test_png_keeps_its_pixels():
    pixels = np.random.RandomState(0).randint(0, 256, (9, 7, 3), np.uint8)
    np.testing.assert_array_equal(images.decode(encoded(pixels), None, 3, True), pixels)
    gray = pixels[..., 0]
    np.testing.assert_array_equal(images.decode(encoded(gray), None, 1, True), gray[..., None])
    np.testing.assert_array_equal(
        images.decode(encoded(gray), None, 3, True), np.repeat(gray[..., None], 3, -1)
    )
    chex.assert_shape(images.decode(encoded(pixels), None, 1, True), (9, 7, 1))


@pytest.mark.parametrize(
    'height, width, form',
    [
        (40, 80, 'PNG'),
        (80, 40, 'PNG'),
        (41, 97, 'PNG'),
        (7, 6, 'PNG'),
        (40, 80, 'JPEG'),
        (300, 200, 'JPEG'),
    ],
)
def test_size_gives_a_square_of_the_middle(height, width, form):
    image = images.decode(encoded(halves(height, width), form), 16, 3, True)
    chex.assert_shape(image, (16, 16, 3))
    chex.assert_type(image, np.uint8)
    assert image[:, :5, 0].min() > 200 and image[:, :5, 2].max() < 60
    assert image[:, -5:, 2].min() > 190 and image[:, -5:, 0].max() < 60


def test_resizing_a_large_jpeg_agrees_with_resizing_all_its_pixels():
    """The decoder's own downscaling may not cost sharpness."""
    y, x = np.mgrid[:512, :768]
    wave = (127 + 120 * np.sin(x / 2) * np.cos(y / 2.6)).astype(np.uint8)
    pixels = np.repeat(wave[..., None], 3, -1)
    fast = images.decode(encoded(pixels, 'JPEG', quality=98), 64, 3, True)
    exact = images.decode(encoded(pixels), 64, 3, True)
    assert np.abs(fast.astype(int) - exact).mean() < 3


def test_exif_orientation_is_honored_where_asked():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    picture = encoded(halves(32, 48), 'JPEG', quality=95, exif=exif)
    chex.assert_shape(images.decode(picture, None, 3, False), (32, 48, 3))
    upright = images.decode(picture, None, 3, True)
    chex.assert_shape(upright, (48, 32, 3))
    assert upright[:20, :, 0].min() > 200 and upright[-20:, :, 2].min() > 200  # left is now above


def test_sixteen_bits_are_scaled_not_clipped():
    ramp = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    image = images.decode(encoded(ramp), None, 1, True)
    np.testing.assert_array_equal(image[..., 0], ramp >> 8)


@pytest.mark.parametrize('mode', ['P', 'RGBA', 'LA', 'CMYK', '1'])
def test_all_modes_become_rgb_or_gray(mode):
    form = 'TIFF' if mode == 'CMYK' else 'PNG'
    buffer = io.BytesIO()
    Image.fromarray(halves(8, 8)).convert(mode).save(buffer, form)
    for channels in (1, 3):
        image = images.decode(buffer.getvalue(), None, channels, True)
        chex.assert_shape(image, (8, 8, channels))


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'WEBP', 'BMP'])
def test_a_file_cut_in_half_raises(form):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    whole = encoded(noise, form)
    chex.assert_shape(images.decode(whole, 16, 3, True), (16, 16, 3))
    with pytest.raises(images.Damaged):
        images.decode(whole[: len(whole) // 2], 16, 3, True)


def test_each_visits_all_once_in_threads():
    visits, seen = np.zeros(1000, int), set()
    meeting = threading.Barrier(4, timeout=5)  # breaks unless four threads work at once

    def work(number):
        visits[number] += 1
        seen.add(threading.get_ident())
        if number in (0, 64, 128, 192):  # the first of four chunks
            meeting.wait()

    images.each(work, 1000, 4, 'test')
    assert (visits == 1).all() and len(seen) == 4
    images.each(work, 0, 4, 'test')


def test_each_raises_the_error():
    def work(number):
        if number == 700:
            raise ValueError('image 700')

    with pytest.raises(ValueError, match='image 700'):
        images.each(work, 1000, 4, 'test')


def shape_in_alpha():
    """Black pixels, of which the right half is transparent: the shape is in the alpha channel alone."""
    pixels = np.zeros((16, 16, 4), np.uint8)
    pixels[:, :8, 3] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize('form', ['PNG', 'WEBP', 'TIFF'])
@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('size', [None, 16])
def test_transparent_parts_lie_on_white(form, channels, size):
    buffer = io.BytesIO()
    shape_in_alpha().save(buffer, form, **({'lossless': True} if form == 'WEBP' else {}))
    image = images.decode(buffer.getvalue(), size, channels, True)
    assert image[:, :7].max() < 10 and image[:, 9:].min() > 245


def test_half_transparent_pixels_are_mixed_with_white():
    pixels = np.zeros((4, 4, 4), np.uint8)
    pixels[...] = 200, 0, 100, 64
    image = images.decode(encoded(pixels), None, 3, True)
    assert np.abs(image - (np.array([200, 0, 100]) * 64 + 255 * 191) / 255).max() <= 1


def png(depth, color, rows, transparent):
    """A PNG file, which Pillow does not write with every depth; rows: packed bytes, 4 pixels each."""

    def chunk(kind, data):
        return (
            struct.pack('>I', len(data)) + kind + data + struct.pack('>I', zlib.crc32(kind + data))
        )

    head = struct.pack('>IIBBBBB', 4, len(rows), depth, color, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + b''.join([
        chunk(b'IHDR', head), chunk(b'tRNS', transparent),
        chunk(b'IDAT', zlib.compress(b''.join(b'\0' + row for row in rows))), chunk(b'IEND', b''),
    ])  # fmt: skip


@pytest.mark.parametrize(
    'depth, row, expected',
    [
        (1, b'\x60', [0, 255, 255, 0]),
        (2, b'\x1b', [0, 255, 170, 255]),
        (4, b'\x01\x23', [0, 255, 34, 51]),
        (8, b'\x00\x01\x02\x03', [0, 255, 2, 3]),
        (16, b'\x00\x00\x00\x01\x02\x00\x03\x00', [0, 255, 2, 3]),
    ],
)
def test_a_transparent_gray_is_white_at_every_depth(depth, row, expected):
    """The gray of number 1."""
    picture = png(depth, 0, [row], struct.pack('>H', 1))
    assert images.decode(picture, None, 1, True).ravel().tolist() == expected


def test_a_transparent_color_is_white_or_refused():
    row = bytes([0, 0, 0, 9, 9, 9, 0, 0, 9, 0, 0, 0])
    image = images.decode(png(8, 2, [row], bytes(6)), None, 3, True)
    assert image[0].tolist() == [[255] * 3, [9] * 3, [0, 0, 9], [255] * 3]
    with pytest.raises(images.Damaged, match='transparent color is of 16 bits'):
        images.decode(png(16, 2, [bytes(24)], bytes(6)), None, 3, True)


@pytest.mark.parametrize('mode', ['I', 'F'])
def test_pixels_of_no_known_range_are_refused(mode):
    buffer = io.BytesIO()
    Image.new(mode, (8, 8), 1).save(buffer, 'TIFF')
    with pytest.raises(images.Damaged, match='of no known range: save it with 8 or 16 bits'):
        images.decode(buffer.getvalue(), 4, 3, True)


@pytest.mark.parametrize('mode', ['CMYK', 'YCbCr', 'L'])
def test_colors_of_jpeg_files_are_those_written(mode):
    """Adobe's CMYK is written inverted, as cameras and Photoshop do."""
    colors = Image.fromarray(halves(32, 32)).convert(mode)
    buffer = io.BytesIO()
    colors.save(buffer, 'JPEG', quality=100, subsampling=0)
    expected = np.asarray(colors.convert('RGB'), int)
    assert np.abs(images.decode(buffer.getvalue(), None, 3, True) - expected)[:, :12].max() < 8


def test_the_first_frame_is_read():
    frames = [Image.new('RGB', (8, 8), color) for color in ('red', 'blue')]
    for form in ('GIF', 'PNG', 'WEBP', 'TIFF'):
        buffer = io.BytesIO()
        options = {'lossless': True} if form == 'WEBP' else {}
        frames[0].save(buffer, form, save_all=True, append_images=frames[1:], **options)
        assert (images.decode(buffer.getvalue(), None, 3, True) == [255, 0, 0]).all()


def broken_exif(turn, broken):
    """EXIF with an orientation, and beside it an XResolution that is not as it must be."""
    kind, value = {
        'outside': (5, b''),  # a rational whose value lies outside of the data
        'negative': (10, struct.pack('<ii', -1, 0)),
        'text': (2, b'no number'),
    }[broken]
    count = max(len(value), 1) if kind == 2 else 1
    entries = struct.pack('<HHII', 0x0112, 3, 1, turn) + struct.pack(
        '<HHII', 0x011A, kind, count, 38
    )
    return b'Exif\0\0II*\0' + struct.pack('<IH', 8, 2) + entries + bytes(4) + value


@pytest.mark.parametrize('broken', ['outside', 'negative', 'text'])
@pytest.mark.parametrize('turn', range(1, 9))
def test_a_picture_beside_broken_exif_is_upright(turn, broken):
    exif = Image.Exif()
    exif[0x0112] = turn
    pixels = halves(48, 64)
    pixels[:24, :, 1] = 255  # Every orientation looks different.
    whole = encoded(pixels, 'JPEG', quality=95, exif=exif)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')  # Pillow's, of damaged EXIF
        for size in (None, 32):
            odd = encoded(pixels, 'JPEG', quality=95, exif=broken_exif(turn, broken))
            np.testing.assert_array_equal(
                images.decode(odd, size, 3, True), images.decode(whole, size, 3, True)
            )
    with Image.open(io.BytesIO(whole)) as image:
        expected = np.asarray(ImageOps.exif_transpose(image))
    np.testing.assert_array_equal(images.decode(whole, None, 3, True), expected)


@pytest.mark.parametrize(
    'exif', [b'Exif\0\0', b'Exif\0\0no EXIF', b'Exif\0\0II*\0\xff\xff\xff\xff']
)
def test_exif_that_can_not_be_read_is_passed_over(exif):
    picture = encoded(halves(8, 16), 'JPEG', exif=exif)
    chex.assert_shape(images.decode(picture, None, 3, True), (8, 16, 3))


def test_very_large_pictures_are_refused_whatever_pillow_allows(monkeypatch):
    monkeypatch.setattr(images, 'MOST_PIXELS', 99)
    with pytest.raises(images.Damaged, match='it has more than 99 pixels'):
        images.decode(encoded(halves(10, 10)), 4, 3, True)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 40)
    with pytest.raises(images.Damaged, match='it has more than 99 pixels'):
        images.decode(encoded(halves(10, 10)), 4, 3, True)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', category=Image.DecompressionBombWarning)
        chex.assert_shape(images.decode(encoded(halves(8, 8)), 4, 3, True), (4, 4, 3))


@pytest.mark.parametrize(
    'content, message',
    [(b'', 'the file is empty'), (b'no picture', 'it is no picture of a known format')],
)
def test_what_is_no_picture_is_told_without_an_address(content, message):
    with pytest.raises(images.Damaged) as caught:
        images.decode(content, 4, 3, True)
    assert str(caught.value) == message
