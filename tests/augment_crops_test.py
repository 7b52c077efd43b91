"""Random parts of pictures: their sizes, where they lie, and what is made of them on the device."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.augment import crops, images

pytestmark = pytest.mark.usefixtures('fast_compile')

AREA, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


def bits(count, seed=0):
    return np.random.PCG64(seed).random_raw((count, 4 * crops.TRIES)).tolist()


def boxes(count, height, width, area=AREA, ratio=RATIO):
    return np.array([crops.sample_box(row, height, width, area, ratio) for row in bits(count)])


def shares(box, height, width):
    wide, tall = box[:, 2] - box[:, 0], box[:, 3] - box[:, 1]
    return wide * tall / (height * width), wide / tall


def test_parts_lie_in_the_picture_and_are_as_large_and_as_wide_as_said():
    box = boxes(4000, 300, 400)
    assert (box[:, :2] >= 0).all() and (box[:, 2] <= 400).all() and (box[:, 3] <= 300).all()
    area, ratio = shares(box, 300, 400)
    assert 0.08 - 2e-3 < area.min() < 0.085 and area.max() > 0.95
    assert 0.74 < ratio.min() < 0.76 and 1.32 < ratio.max() < 1.35


def test_share_of_the_area_and_logarithm_of_the_ratio_are_uniform():
    """Of parts so small that the first try always fits."""
    box = boxes(4000, 1000, 1000, area=(0.1, 0.3))
    area, ratio = shares(box, 1000, 1000)
    for number, low, high in (
        (area, 0.1, 0.3),
        (np.log(ratio), np.log(3 / 4), np.log(4 / 3)),
        (box[:, 0] / (1000 - (box[:, 2] - box[:, 0])), 0, 1),
        (box[:, 1] / (1000 - (box[:, 3] - box[:, 1])), 0, 1),
    ):
        found = np.quantile(number, [0.1, 0.25, 0.5, 0.75, 0.9])
        expected = low + np.array([0.1, 0.25, 0.5, 0.75, 0.9]) * (high - low)
        np.testing.assert_allclose(found, expected, atol=0.035 * (high - low))


def test_a_ratio_above_one_is_wide_and_every_place_is_taken():
    """The ratio is width to height, and a crop may end at the last pixel."""
    box = boxes(300, 1000, 1000, area=(0.1, 0.3), ratio=(1.0, 2.0))
    _, ratio = shares(box, 1000, 1000)
    assert 0.99 < ratio.min() < 1.05 and 1.9 < ratio.max() < 2.01
    # 3 x 3 pixels of 4 x 4 have two places along each axis.
    box = boxes(300, 4, 4, area=(9 / 16, 9 / 16), ratio=(1.0, 1.0))
    assert (box[:, 2:] - box[:, :2] == 3).all()
    assert (np.abs(box[:, :2].mean(0) - 0.5) < 0.1).all() and set(box[:, :2].flat) == {0, 1}


def test_later_tries_count_and_then_the_middle():
    first = bits(1)[0]
    too_wide = [(1 << 64) - 1] * 4  # all of the area, 4 : 3, which a square does not hold
    assert crops.sample_box(too_wide + first, 90, 90, AREA, RATIO) == crops.sample_box(
        first, 90, 90, AREA, RATIO
    )
    # Of one pixel of height no part of these ratios has an eighth of the area.
    row = crops.sample_box(bits(1)[0], 1, 100, (0.5, 1.0), RATIO)
    assert row == (49, 0, 50, 1)
    assert crops.sample_box(too_wide * 10, 80, 160, (1.0, 1.0), (1.0, 1.0)) == (45, 5, 115, 75)


def test_views_start_from_one_part_with_mirrors_of_their_own():
    views = crops.make(0.0, 1.0, 8)
    image = jnp.arange(40 * 8 * 8, dtype=jnp.float32).reshape(40, 8, 8, 1) % 251
    seen = views.unlabeled(jax.random.key(0), image)
    kinds = set()
    for plain, weak, strong in zip(image, seen['weak'], seen['strong']):
        reported = [bool((view == plain[:, ::-1]).all()) for view in (weak, strong)]
        assert [bool((view == plain).all()) for view in (weak, strong)] == [not t for t in reported]
        kinds.add(tuple(reported))
    assert len(kinds) == 4
    labeled = views.labeled(jax.random.key(1), image)
    assert 5 < sum(bool((view == plain).all()) for view, plain in zip(labeled, image)) < 35
    np.testing.assert_array_equal(views.evaluate(image), image)


def test_everything_after_the_part_is_that_of_images():
    image = np.random.RandomState(0).randint(0, 256, (6, 12, 12, 3), np.uint8)
    strong = {'name': 'randaugment'}
    ours = crops.make(100.0, 50.0, 12, strong=strong)
    theirs = images.make(100.0, 50.0, weak={'mirror': True}, strong=strong)
    for one, other in ((ours.labeled, theirs.labeled), (ours.unlabeled, theirs.unlabeled)):
        key = jax.random.key(3)
        chex.assert_trees_all_equal(one(key, image), other(key, image))


def test_cuts_the_box_out():
    image = np.random.RandomState(0).randint(0, 256, (2, 20, 30, 3), np.uint8)
    box = np.array([[4, 2, 12, 10], [20, 12, 28, 20]], np.int32)  # as large as the result
    seen = crops.make(0.0, 1.0, 8).crop.cut(jnp.asarray(image), jnp.asarray(box))
    np.testing.assert_array_equal(seen, [image[0, 2:10, 4:12], image[1, 12:20, 20:28]])


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'size': 0}, 'size=0; give a number of pixels'),
        ({'area': (0.0, 1.0)}, r'area=\(0.0, 1.0\); give the minimum'),
        ({'area': (0.5,)}, r'area=\(0.5,\); give the minimum'),
        ({'ratio': (2.0, 1.0)}, r'ratio=\(2.0, 1.0\); give the minimum'),
        ({'crop_from': 'half'}, "crop_from='half'; give one of whole, square"),
        ({'labeled': 'all'}, "labeled='all'"),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        crops.make(**{'mean': 0.0, 'std': 1.0, 'size': 8, **arguments})
