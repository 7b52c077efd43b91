"""Views of pictures and points: values, randomness, refusals."""

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
from sklearn import datasets

from mpl.augment import affine, images, points, resize

pytestmark = pytest.mark.usefixtures('fast_compile')

AFFINE = {
    'name': 'affine',
    'rotate': 15.0,
    'shear': 0.2,
    'scale': (0.85, 1.15),
    'translate': 1.0,
    'brightness': (0.6, 1.4),
    'contrast': (0.7, 1.3),
    'cutout': 3,
    'noise': 10.0,
}
RANDAUGMENT = {
    'name': 'randaugment',
    'layers': 2,
    'magnitude': 16.0,
    'probability': (0.2, 0.8),
    'cutout': 16,
    'operations': ('Rotate', 'Equalize', 'Color', 'Cutout'),
}  # one of each kind, for speed
DIGITS = {'mean': 77.8, 'std': 95.9, 'weak': {'shift': 1, 'fill': 0}, 'strong': AFFINE}
COLOR = {
    'mean': (125.3, 123.0, 113.9),
    'std': (63.0, 62.1, 66.7),
    'weak': {'mirror': True, 'shift': 4},
    'strong': RANDAUGMENT,
    'strong_geometry': 'twice',
}


def digits(size=24):
    return jnp.asarray(
        (datasets.load_digits().images[:size, :, :, None] * 255 / 16).astype(np.uint8)
    )


def colors(size=12):
    return jnp.asarray(np.random.default_rng(0).integers(0, 256, (size, 32, 32, 3)), jnp.uint8)


CASES = {'digits': (DIGITS, digits), 'color': (COLOR, colors)}


@pytest.mark.parametrize('case', CASES)
def test_views_are_functions_of_key_and_image_number(case):
    numbers, draw = CASES[case]
    views, image, key = images.make(**numbers), draw(), jax.random.key(5)
    unlabeled = jax.jit(views.unlabeled)
    result = unlabeled(key, image)
    for view in ('weak', 'strong'):
        chex.assert_equal_shape([result[view], image])
        chex.assert_type(result[view], jnp.float32)
        chex.assert_tree_all_finite(result[view])
        np.testing.assert_array_equal(result[view], unlabeled(key, image)[view])
        assert (np.abs(result[view] - unlabeled(jax.random.key(6), image)[view]) > 0).any()
    # The first images of a batch look the same when there are fewer of them, and without jit (within a pixel value).
    eager = views.unlabeled(key, image[:7])
    for view in ('weak', 'strong'):
        np.testing.assert_allclose(result[view][:7], eager[view], atol=0.02)
        labeled = images.make(**numbers | {'labeled': view}).labeled
        np.testing.assert_array_equal(labeled(key, image[:7]), eager[view])
    plain = images.make(**numbers | {'labeled': 'none'}).labeled
    np.testing.assert_array_equal(plain(key, image), views.evaluate(image))
    expected = (np.asarray(image, np.float64) - numbers['mean']) / numbers['std']
    np.testing.assert_allclose(views.evaluate(image), expected, atol=1e-5)


def test_views_of_another_size_are_the_views_of_the_image_resized():
    image, key = colors(5), jax.random.key(5)
    mean, std = np.array([120.0, 110.0, 100.0], np.float32), np.float32(60)
    spec = dict(weak={'mirror': True, 'shift': 2}, strong={'name': 'affine', 'rotate': 20.0})
    as_given = images.make(0.0, 1.0, 'strong', **spec)
    small = images.make(mean, std, 'strong', **spec, size=9)
    views = as_given.unlabeled(key, image) | {
        'labeled': as_given.labeled(key, image),
        'evaluate': as_given.evaluate(image),
    }
    resized = small.unlabeled(key, image) | {
        'labeled': small.labeled(key, image),
        'evaluate': small.evaluate(image),
    }
    for name, view in views.items():
        wanted = (np.asarray(resize.resize(view, (9, 9))) - mean) / std
        assert resized[name].shape == (5, 9, 9, 3)
        np.testing.assert_allclose(resized[name], wanted, atol=1e-5, err_msg=name)


def test_uint8_and_float32_and_scan_agree():
    views, image = images.make(**DIGITS), digits()
    keys = jax.random.split(jax.random.key(0), 3)
    step = jax.jit(views.unlabeled)
    _, scanned = jax.lax.scan(lambda _, key: (0, views.unlabeled(key, image)), 0, keys)
    for number, key in enumerate(keys):
        for view, result in step(key, image.astype(jnp.float32)).items():
            np.testing.assert_allclose(scanned[view][number], result, atol=1e-4)


@pytest.mark.parametrize('fill,mode', [('reflect', 'reflect'), ('edge', 'edge'), (7, 'constant')])
def test_geometry_is_a_crop_of_the_padded_image(fill, mode):
    shift, image = 3, np.asarray(colors(400))[:, :9, :10]
    result = np.asarray(
        images.geometry(mirror=True, shift=shift, fill=fill)(jax.random.key(0), jnp.asarray(image))
    )
    chex.assert_type(result, np.uint8)
    extra = {'constant_values': fill} if mode == 'constant' else {}
    padded = np.pad(image, ((0, 0), (shift, shift), (shift, shift), (0, 0)), mode, **extra)
    count = np.zeros((2, 7, 7), int)
    for number in range(len(image)):
        found = [
            (m, y, x)
            for m in (0, 1)
            for y in range(7)
            for x in range(7)
            if (padded[number, y : y + 9, x : x + 10][:, :: 1 - 2 * m] == result[number]).all()
        ]
        assert len(found) == 1
        count[found[0]] += 1
    assert 150 < count[1].sum() < 250
    for axis in (1, 2):
        along = count.sum(axis=tuple({0, 1, 2} - {axis}))
        assert along.min() > 30 and along.max() < 90  # 57 each


def test_strong_geometry():
    image, key = colors(64), jax.random.key(1)
    views = {
        name: images.make(
            0.0, 1.0, weak={'mirror': True, 'shift': 4, 'fill': 0}, strong_geometry=name
        )
        for name in images.STRONG_GEOMETRY
    }
    result = {name: view.unlabeled(key, image) for name, view in views.items()}
    same = {
        name: np.asarray((view['weak'] == view['strong']).all((1, 2, 3)))
        for name, view in result.items()
    }
    assert same['shared'].all()
    assert same['own'].mean() < 0.2 and same['twice'].mean() < 0.2
    np.testing.assert_array_equal(result['none']['strong'], image)
    lost = {name: float((view['strong'] == 0).mean()) for name, view in result.items()}
    assert lost['twice'] > 1.3 * lost['own']  # two shifts move more of the picture out


def test_the_second_move_of_twice_is_independent_of_the_first():
    """Of mirrors alone: a strong view is mirrored or not whether its weak view is or not."""
    views = images.make(0.0, 1.0, weak={'mirror': True}, strong_geometry='twice')
    image = colors(64)
    seen = views.unlabeled(jax.random.key(1), image)
    plain = [np.asarray((seen[name] == image).all((1, 2, 3))) for name in ('weak', 'strong')]
    assert len(set(zip(*map(np.ndarray.tolist, plain)))) == 4


def test_affine_moves_as_it_says():
    """A bright pixel, away from the middle: distance and angle before and after."""
    image = jnp.zeros((500, 41, 41, 1)).at[:, 20, 32].set(200.0)
    key = jax.random.key(0)
    grid = np.arange(41) - 20

    def center(**numbers):
        result = np.asarray(affine.policy(**numbers)(key, image))[..., 0]
        mass = result.sum((1, 2))
        return (result * grid).sum((1, 2)) / mass, (result * grid[:, None]).sum((1, 2)) / mass

    x, y = center(rotate=30.0)
    np.testing.assert_allclose(np.hypot(x, y), 12, atol=0.3)
    angle = np.degrees(np.arctan2(y, x))
    assert 27 < angle.max() < 32 and -32 < angle.min() < -27 and abs(angle.mean()) < 3
    x, y = center(scale=(0.5, 1.5))
    assert 5.5 < x.min() < 6.8 and 17.2 < x.max() < 18.5 and np.abs(y).max() < 0.3
    x, y = center(translate=3.5)
    for moved in (x - 12, y):
        assert 3.3 < moved.max() < 3.7 and -3.7 < moved.min() < -3.3
    assert abs(np.corrcoef(x, y)[0, 1]) < 0.15
    x, y = center(shear=0.5)
    assert (
        np.abs(y).max() < 1e-3 and np.abs(x - 12).max() < 1e-3
    )  # rows slide, and the middle row stays
    lower = jnp.zeros((500, 41, 41, 1)).at[:, 30, 20].set(200.0)
    slid = (np.asarray(affine.policy(shear=0.5)(key, lower))[..., 0].sum(1) * grid).sum(1) / 200
    assert 4.5 < slid.max() < 5.3 and -5.3 < slid.min() < -4.5


def test_affine_light_noise_and_box():
    image = jnp.full((300, 16, 16, 1), 100.0).at[:, :8].set(60.0)
    key = jax.random.key(0)
    np.testing.assert_array_equal(affine.policy()(key, image), image)
    factor = np.asarray(affine.policy(brightness=(0.5, 2.0))(key, image)) / np.asarray(image)
    assert np.ptp(factor, axis=(1, 2, 3)).max() < 1e-5
    assert 0.5 <= factor.min() < 0.53 and 1.97 < factor.max() <= 2.0
    result = np.asarray(affine.policy(contrast=(0.25, 2.0))(key, image))
    np.testing.assert_allclose(result.mean((1, 2, 3)), 80, atol=1e-3)
    spread = np.ptp(result, axis=(1, 2, 3)) / 40
    assert 0.25 <= spread.min() < 0.28 and 1.97 < spread.max() <= 2.001
    noise = np.asarray(affine.policy(noise=10.0)(key, image) - image)
    np.testing.assert_allclose(noise.std(), 10, rtol=0.02)
    np.testing.assert_allclose(noise.mean(), 0, atol=0.1)
    box = np.asarray(affine.policy(cutout=4, fill=255.0)(key, image)) == 255
    assert box.sum((1, 2, 3)).max() == 16 and box.sum((1, 2, 3)).min() >= 4


def test_affine_is_a_shear_then_a_rotation_then_a_magnification():
    """The map of pixels back is [[a, b], [d, e]] = R S / size, where S = [[1, slope], [0, 1]]."""
    map = affine._draw_map(jax.random.key(0), (2000, 9, 9, 1), 30.0, 0.5, (0.5, 2.0), 0.0)
    a, b, _, d, e, _ = np.asarray(map, np.float64).T
    size, angle = 1 / np.hypot(a, d), np.degrees(np.arctan2(d, a))
    slope = (a * b + d * e) * size**2
    np.testing.assert_allclose((a * e - b * d) * size**2, 1, rtol=1e-4)  # A shear keeps areas.
    for value, low, high in ((size, 0.5, 2.0), (angle, -30, 30), (slope, -0.5, 0.5)):
        found = np.quantile(value, [0, 0.25, 0.5, 0.75, 1])
        wanted = low + (high - low) * np.array([0, 0.25, 0.5, 0.75, 1])
        np.testing.assert_allclose(found, wanted, atol=0.05 * (high - low))


def test_affine_fills_what_it_uncovers_and_stays_in_the_range_of_pixels():
    """Also where light and noise would leave it."""
    image, key = jnp.full((50, 8, 8, 2), 200.0).at[..., 1].set(100.0), jax.random.key(0)
    moved = np.asarray(affine.policy(translate=3.0, fill=250.0)(key, image))
    assert (moved == 250).any() and moved[..., 0].min() >= 200
    for numbers in ({'brightness': (2.0, 2.0)}, {'contrast': (5.0, 5.0)}, {'noise': 200.0}):
        changed = affine.policy(**numbers)(key, image)
        assert (changed.min() >= 0, changed.max()) == (True, 255), numbers
    # The contrast is that to the mean of the whole image, over all channels.
    np.testing.assert_allclose(affine.policy(contrast=(0.0, 0.0))(key, image), 150, rtol=1e-6)


def test_no_number_of_a_view_is_dead():
    image, key = digits().astype(jnp.float32), jax.random.key(0)
    neutral = images.make(0.0, 1.0, strong={'name': 'affine'}, strong_geometry='none').unlabeled(
        key, image
    )['strong']
    np.testing.assert_array_equal(neutral, image)
    for name, value in AFFINE.items():
        if name == 'name':
            continue
        view = images.make(0.0, 1.0, strong={'name': 'affine', name: value}, strong_geometry='none')
        assert float(jnp.abs(view.unlabeled(key, image)['strong'] - image).mean()) > 1, name


def test_config_dict_is_accepted():
    spec = ml_collections.ConfigDict(DIGITS).lock()
    key, image = jax.random.key(0), digits()
    result = images.make(**spec).unlabeled(key, image)
    np.testing.assert_array_equal(
        result['strong'], images.make(**DIGITS).unlabeled(key, image)['strong']
    )


def test_points():
    image = jnp.zeros((20_000, 1, 1, 2)) + jnp.array([3.0, -1.0])
    views = points.make(noise=0.3, weak_noise=0.1)
    result = views.unlabeled(jax.random.key(0), image)
    for view, deviation in (('weak', 0.1), ('strong', 0.3)):
        moved = np.asarray(result[view] - image)
        np.testing.assert_allclose(moved.std((0, 1, 2)), deviation, rtol=0.02)
        np.testing.assert_allclose(moved.mean((0, 1, 2)), 0, atol=0.01)
    assert (
        abs(np.corrcoef(np.ravel(result['weak'] - image), np.ravel(result['strong'] - image))[0, 1])
        < 0.03
    )
    np.testing.assert_allclose(
        np.std(views.labeled(jax.random.key(1), image) - image), 0.1, rtol=0.02
    )
    np.testing.assert_array_equal(views.evaluate(image), image)
    with pytest.raises(ValueError, match='weak_noise=-1'):
        points.make(weak_noise=-1)


@pytest.mark.parametrize(
    'numbers,match',
    [
        ({'labeled': 'both'}, 'labeled'),
        ({'strong_geometry': 'again'}, 'strong_geometry'),
        ({'std': 0.0}, 'std'),
        ({'std': float('inf')}, 'std'),
        ({'std': (1.0, 1e-45, 1.0)}, 'std'),
        ({'mean': float('nan')}, 'mean'),
        ({'weak': {'flip': True}}, 'weak has no flip'),
        ({'weak': {'shift': -1}}, 'shift'),
        ({'weak': {'fill': 'wrap'}}, 'fill'),
        (
            {'strong': {'name': 'cutmix'}},
            "policy 'cutmix' is unknown; choose one of affine, color, identity, r",
        ),
        ({'strong': {'name': 'warp'}}, "policy 'warp' is unknown"),
        ({'strong': {'name': '../affine'}}, 'is unknown'),
        ({'strong': {}}, 'policy None is unknown'),
        ({'strong': {'name': 'affine', 'angle': 3}}, 'has no angle'),
        ({'strong': {'name': 'affine', 'rotate': -3}}, 'rotate'),
        ({'strong': {'name': 'affine', 'scale': (1.2, 0.8)}}, 'scale'),
        ({'strong': {'name': 'affine', 'fill': -1}}, 'fill'),
        ({'size': -1}, 'size=-1'),
    ],
)
def test_refuses(numbers, match):
    with pytest.raises(ValueError, match=match):
        images.make(**{'mean': 0.0, 'std': 1.0} | numbers)


def test_refuses_images_that_do_not_fit():
    with pytest.raises(ValueError, match='3 values, but the images'):
        images.make(**COLOR).evaluate(digits())
    with pytest.raises(ValueError, match='cannot be reflected'):
        images.make(0.0, 1.0, weak={'shift': 8}).labeled(jax.random.key(0), digits())
