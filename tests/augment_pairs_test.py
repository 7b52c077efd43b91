"""Pairs of views: a crop and a draw of the policy for each, of any number and size."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.augment import color, images, pairs

pytestmark = pytest.mark.usefixtures('fast_compile')
PLAIN = {'name': 'identity'}


def test_each_view_is_its_image_with_a_mirror_and_a_policy_of_its_own():
    """Without crops: the views are those that `images` makes with the policy of each."""
    first, second = {'name': 'identity'}, {'name': 'color', 'solarized': 1.0, 'jitter': 0.0}
    views = pairs.make(100.0, 50.0, first=first, second=second, parts=3)
    assert views.crop is None and views.crops is None
    image = np.random.RandomState(0).randint(0, 256, (6, 12, 12, 3), np.uint8)
    seen = views.unlabeled(jax.random.key(0), image)
    assert list(seen) == ['view_0', 'view_1', 'view_2']
    for key, (name, view) in zip(jax.random.split(jax.random.key(0), 3), seen.items()):
        policy = first if name == 'view_0' else second
        wanted = images.make(100.0, 50.0, 'strong', {'mirror': True}, policy, 'shared')
        np.testing.assert_array_equal(view, wanted.labeled(key, image))
    assert (seen['view_1'] != seen['view_2']).any()
    np.testing.assert_array_equal(views.labeled(jax.random.key(0), image), views.evaluate(image))


def test_small_crops_have_a_size_an_area_and_a_policy_of_their_own():
    views = pairs.make(
        0.0, 1.0, 16, area=(0.5, 1.0), mirror=False, first=PLAIN, small=PLAIN,
        small_parts=2, small_size=8, small_area=(0.1, 0.2), labeled='weak',
    )  # fmt: skip
    assert list(views.crops) == ['view_0', 'view_1', 'small_0', 'small_1']
    assert [crop.size for crop in views.crops.values()] == [16, 16, 8, 8]
    assert views.crop is views.crops['view_0']
    bits = np.random.PCG64(0).random_raw((50, 40)).tolist()
    for name, low, high in (('view_1', 0.5, 1.0), ('small_1', 0.1, 0.2)):
        boxes = np.array([views.crops[name].box(row, 100, 100) for row in bits])
        share = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / 1e4
        assert low - 0.02 < share.min() < share.max() < high + 0.02
    cut = {name: jnp.zeros((2, crop.size, crop.size, 1)) for name, crop in views.crops.items()}
    seen = views.unlabeled(jax.random.key(0), cut)
    assert {name: view.shape[1] for name, view in seen.items()} == {
        'view_0': 16, 'view_1': 16, 'small_0': 8, 'small_1': 8,
    }  # fmt: skip


def test_small_crops_and_labeled_images_have_the_first_policy():
    """Where no other is given, and small crops have the ratio of the others."""
    dark = {'name': 'affine', 'brightness': (0.5, 0.5)}
    views = pairs.make(
        0.0, 1.0, 8, ratio=(1.0, 2.0), first=PLAIN, second=dark,
        small_parts=1, small_size=4, small_area=(0.2, 0.3), labeled='strong',
    )  # fmt: skip
    bright = {
        name: jnp.full((2, crop.size, crop.size, 3), 200) for name, crop in views.crops.items()
    }
    seen = views.unlabeled(jax.random.key(0), bright) | {
        'labeled': views.labeled(jax.random.key(0), bright['view_0'])
    }
    values = {name: np.unique(view).tolist() for name, view in seen.items()}
    assert values == {'view_0': [200], 'view_1': [100], 'small_0': [200], 'labeled': [200]}
    bits = np.random.PCG64(0).random_raw((100, 40)).tolist()
    box = np.array([views.crops['small_0'].box(row, 500, 500) for row in bits])
    ratio = (box[:, 2] - box[:, 0]) / (box[:, 3] - box[:, 1])
    assert 0.98 < ratio.min() < 1.1 and 1.8 < ratio.max() < 2.02


def test_solarize_inverts_the_pixels_from_128_of_a_share_of_the_images():
    image = jnp.arange(200 * 16, dtype=jnp.float32).reshape(200, 4, 4, 1) % 256
    alone = {'jitter': 0.0, 'grayscale': 0.0, 'blurred': 0.0}
    seen = np.asarray(color.policy(**alone, solarized=0.2)(jax.random.key(0), image))
    inverted = np.where(image < 128, image, 255 - image)
    changed = (seen != image).any((1, 2, 3))
    np.testing.assert_array_equal(seen[changed], inverted[changed])
    able = (inverted != image).any((1, 2, 3))
    assert 0.1 < changed[able].mean() < 0.3
    same = color.policy(**alone | {'blurred': 0.5})
    other = color.policy(**alone | {'blurred': 0.5}, solarized=1e-9)  # draws nothing from others
    np.testing.assert_array_equal(same(jax.random.key(1), image), other(jax.random.key(1), image))


def test_gray_first_leaves_nothing_for_hue_and_saturation():
    image = jnp.asarray(np.random.RandomState(0).randint(0, 256, (20, 4, 4, 3)), jnp.float32)
    given = {'brightness': 0.0, 'contrast': 0.0, 'jitter': 1.0, 'grayscale': 1.0, 'blurred': 0.0}
    first, last = (
        np.asarray(color.policy(**given, gray_first=early)(jax.random.key(0), image))
        for early in (True, False)
    )
    gray = np.asarray(image.astype(jnp.int32) @ jnp.array([19595, 38470, 7471]) + 32768 >> 16)
    np.testing.assert_allclose(first, np.repeat(gray[..., None], 3, -1), atol=1)
    assert (np.ptp(last, -1) == 0).all() and np.abs(last - first).max() > 5


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'parts': 0}, 'parts=0 and small_parts=0; give at least 1'),
        ({'small_parts': 2}, r'small_size up to it \(they are 8 and None\)'),
        ({'small_parts': 2, 'small_size': 9}, r'\(they are 8 and 9\)'),
        ({'size': None, 'small_parts': 2, 'small_size': 9}, r'\(they are None and 9\)'),
        ({'area': (0.0, 1.0)}, r'area=\(0.0, 1.0\); give the minimum'),
        ({'first': {'name': 'color', 'solarized': 2.0}}, 'solarized=2.0; give a probability'),
    ],
)
def test_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        pairs.make(**{'mean': 0.0, 'std': 1.0, 'size': 8, **arguments})
