"""Pools of encoded pictures: by number, in threads, damaged ones gray; parts of them as Pillow cuts them."""

import concurrent.futures
import io
import logging
import os
import pathlib

import chex
import numpy as np
import pytest
from PIL import Image

from mpl.data import encoded, images

ROOT = pathlib.Path(__file__).resolve().parents[1]
REAL = pathlib.Path(
    os.environ['MPL_TEST_DATA']
    if 'MPL_TEST_DATA' in os.environ
    else ROOT.parent / 'shared' / 'data'
)
FORM = encoded.Format(size=8, channels=3, central=1.0)


def packed(pixels, form='PNG', **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form, **options)
    return buffer.getvalue()


def flat(value, height=10, width=12):
    return packed(np.full((height, width, 3), value, np.uint8))


def part_of(pictures, upright=False, label=0):
    names = [f'picture {number}' for number in range(len(pictures))]
    label = np.full(len(pictures), label, np.int32)
    return encoded.Part(lambda numbers: [pictures[n] for n in numbers], label, names, upright)


def pool_of(*parts, form=FORM, keep_bytes=0, threads=3):
    return encoded.pool(parts, form, (8, 8, 3), 'the set', keep_bytes, threads)


@pytest.mark.parametrize('keep_bytes', [0, 1 << 30])
def test_reads_parts_in_one_numbering_from_many_threads(keep_bytes):
    one, two = part_of([flat(n) for n in range(150)]), part_of([flat(150 + n) for n in range(50)])
    pool = pool_of(one, two._replace(label=two.label - 1), keep_bytes=keep_bytes)
    assert pool.label.tolist() == [0] * 150 + [-1] * 50 and pool.name[151] == 'picture 1'
    asked = [np.random.RandomState(seed).randint(0, 200, 170) for seed in range(12)]
    with concurrent.futures.ThreadPoolExecutor(4) as executor:
        for numbers, image in zip(asked, executor.map(pool.read, asked)):
            chex.assert_type(image, np.uint8)
            chex.assert_shape(image, (170, 8, 8, 3))
            np.testing.assert_array_equal(image[:, 3, 3, 0], numbers)
    chex.assert_shape(pool.read(np.array([], np.int64)), (0, 8, 8, 3))


def test_kept_pictures_are_not_decoded_again():
    fetched = []
    part = part_of([flat(n) for n in range(5)])
    counting = part._replace(fetch=lambda numbers: fetched.extend(numbers) or part.fetch(numbers))
    pool = pool_of(counting, keep_bytes=5 * 8 * 8 * 3)
    assert sorted(fetched) == [0, 1, 2, 3, 4]
    assert pool.read(np.array([4, 0]))[:, 0, 0, 0].tolist() == [4, 0] and len(fetched) == 5


def test_a_damaged_picture_is_gray_and_costs_one_warning(caplog):
    pictures = [flat(n) for n in range(4)]
    pictures[1], pictures[2] = pictures[1][:45], b'no picture'
    pool = pool_of(part_of(pictures))
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            image = pool.read(np.arange(4))
            parts = pool.crop(np.arange(4), lambda n, height, width: (0, 0, 5, 5), 6)
    assert image[:, 0, 0, 0].tolist() == [0, 128, 128, 3] and (image[1:3] == 128).all()
    assert parts[:, 0, 0, 0].tolist() == [0, 128, 128, 3] and (parts[1:3] == 128).all()
    said = sorted(record.getMessage() for record in caplog.records)
    assert len(said) == 2
    assert said[0].startswith('picture 1 of the set cannot be decoded and is gray: ')
    assert said[1].startswith('picture 2 of the set cannot be decoded and is gray: ')


def test_more_than_a_hundred_damaged_pictures_are_too_many():
    pool = pool_of(part_of([b''] * 101 + [flat(0)] * 99))
    assert (pool.read(np.repeat(np.arange(100), 3)) == 128).all()
    with pytest.raises(ValueError, match='101 of the 200 pictures of the set cannot be decoded'):
        pool.read(np.array([100]))


def test_bytes_that_can_not_be_had_are_no_damaged_picture():
    def fetch(numbers):
        raise OSError(5, 'Input/output error')

    with pytest.raises(OSError, match='Input/output'):
        pool_of(part_of([b''])._replace(fetch=fetch)).read(np.array([0]))


def test_an_error_of_a_box_is_no_damaged_picture():
    with pytest.raises(ZeroDivisionError):
        pool_of(part_of([flat(0)])).crop(np.array([0]), lambda *_: 1 / 0, 4)


def test_pictures_that_stay_whole_have_no_reader_of_parts():
    part = part_of([flat(n, 8, 8) for n in range(3)])
    assert pool_of(part, form=FORM._replace(size=None)).crop is None
    assert pool_of(part).crop is not None


def test_parts_are_those_that_pillow_cuts():
    random = np.random.RandomState(0)
    pixels = [random.randint(0, 256, (20 + n, 41 - n, 3), np.uint8) for n in range(9)]
    pool = pool_of(part_of([packed(p) for p in pixels]))
    reported = {}

    def box(place, height, width):
        reported[place] = (height, width)
        return place, 2 * place, width - place, height - 1

    numbers = np.array([5, 0, 8, 5, 2])
    image = pool.crop(numbers, box, 8)
    for place, number in enumerate(numbers):
        assert reported[place] == pixels[number].shape[:2]
        expected = Image.fromarray(pixels[number]).resize(
            (8, 8), Image.Resampling.BICUBIC, box(place, *reported[place])
        )
        np.testing.assert_array_equal(image[place], expected)


def test_boxes_are_of_the_upright_picture():
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, 24:] = 255  # shown turned by 90 degrees clockwise this is the lower end
    exif = Image.Exif()
    exif[0x0112] = 6
    part = part_of([packed(pixels, 'JPEG', quality=95, exif=exif)], upright=True)

    def box(place, height, width):
        assert (height, width) == (32, 16)
        return 0, 24, 16, 32

    assert pool_of(part).crop(np.array([0]), box, 4)[0, 1:].min() > 240


@pytest.mark.parametrize('turn', range(1, 9))
def test_parts_of_a_large_jpeg_lie_where_those_of_all_its_pixels_do(turn):
    """The decoder gives it at a fraction, whose sides are rounded up."""
    y, x = np.mgrid[:333, :517]
    smooth = 127 + 60 * np.sin(x / 20) + 60 * np.cos(y / 15)
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = packed(np.repeat(smooth[..., None], 3, -1).astype(np.uint8), 'JPEG', exif=exif)

    def box(height, width):
        return width // 5, height // 9, width, height

    fast = images.crop(picture, box, 24, 3, True)
    plain = Image.fromarray(images.decode(picture, None, 3, True))
    exact = plain.resize((24, 24), Image.Resampling.BICUBIC, box(plain.height, plain.width))
    difference = np.abs(fast.astype(int) - np.asarray(exact))
    assert difference.max() <= 4 and difference.mean() < 0.7


@pytest.mark.skipif(not (REAL / 'photos').is_dir(), reason='no real photos beside the repository')
def test_fractions_of_photos_agree_with_all_their_pixels():
    differences = []
    for path in sorted((REAL / 'photos').rglob('*.jp*g')) + sorted(
        (REAL / 'photos').rglob('*.JPEG')
    ):
        picture = path.read_bytes()
        fast = images.decode(picture, 48, 3, False)
        whole = Image.fromarray(images.decode(picture, None, 3, False))
        box = images.middle(whole.height, whole.width, 48, 1.0)
        exact = np.asarray(whole.resize((48, 48), Image.Resampling.BICUBIC, box))
        differences.append(np.abs(fast.astype(int) - exact))
    assert np.mean(differences) < 0.6 and np.max(differences) <= 24
    assert np.mean(differences) > 0  # some were


@pytest.mark.parametrize('shape', [(50, 70), (71, 50), (33, 90), (40, 40)])
@pytest.mark.parametrize('central', [1.0, 0.875])
def test_middle_is_the_square_of_the_resized_picture(shape, central):
    """As resizing all of it and cutting pixels out, for less."""
    pixels = np.random.RandomState(0).randint(0, 256, (*shape, 3), np.uint8)
    image = images.decode(packed(pixels), 28, 3, False, central)
    short = round(28 / central)
    height, width = (max(short, round(side * short / min(shape))) for side in shape)
    large = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    left, upper = (width - 28) // 2, (height - 28) // 2
    exact = np.asarray(large.crop((left, upper, left + 28, upper + 28)), int)
    assert np.abs(image - exact).max() <= 1
