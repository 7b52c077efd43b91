"""Decoding pictures, fitting them to a size, and passes over whole sets."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

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
    assert images.decode(encoded(pixels), None, 1, True).shape == (9, 7, 1)


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
    assert image.shape == (16, 16, 3) and image.dtype == np.uint8
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
    assert images.decode(picture, None, 3, False).shape == (32, 48, 3)
    upright = images.decode(picture, None, 3, True)
    assert upright.shape == (48, 32, 3)
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
        assert images.decode(buffer.getvalue(), None, channels, True).shape == (8, 8, channels)


@pytest.mark.parametrize('form', ['PNG', 'JPEG', 'WEBP', 'BMP'])
def test_a_file_cut_in_half_raises(form):
    noise = np.random.RandomState(0).randint(0, 256, (64, 64, 3), np.uint8)
    whole = encoded(noise, form)
    assert images.decode(whole, 16, 3, True).shape == (16, 16, 3)
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
