"""RandAugment: each image sees exactly the operation it drew, and the draws are even."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.augment import layer, ops, randaugment, warp

pytestmark = pytest.mark.usefixtures('fast_compile')
SIZE = 36


def pictures(channels, side=20):
    """Waves with noise, float32 [36, side, side, channels], whole numbers."""
    rng = np.random.default_rng(1)
    grid = np.linspace(0, 5, side)
    wave = np.sin(
        grid[:, None, None] * rng.uniform(0.2, 2, (SIZE, 1, 1, channels))
        + grid[:, None] * rng.uniform(0.2, 2, (SIZE, 1, 1, channels))
    )
    return jnp.asarray(
        np.clip(128 + 70 * wave + rng.normal(0, 10, wave.shape), 0, 255).astype(np.uint8),
        jnp.float32,
    )


def alone(name, image, value, place):
    """Operation `name` on one image [1, H, W, C], spelled out without `randaugment`."""

    def warped(map):
        return warp.nearest(image, jnp.broadcast_to(map, (1, 6)), ops.FILL)

    def table(table):
        return ops.look_up(image, table)

    return {
        'AutoContrast': lambda: table(ops.autocontrast_table(image)),
        'Equalize': lambda: table(ops.equalize_table(image)),
        'Invert': lambda: 255 - image,
        'Posterize': lambda: table(ops.posterize_table(value)),
        'Solarize': lambda: jnp.where(image < value, image, 255 - image),
        'SolarizeAdd': lambda: jnp.where(image < 128, jnp.clip(image + value, 0, 255), image),
        'Contrast': lambda: table(ops.contrast_table(image, value)),
        'Brightness': lambda: ops.blend(image, 0.0, value),
        'Color': lambda: ops.color(image, value),
        'Sharpness': lambda: ops.sharpness(image, value),
        'Rotate': lambda: warped(ops.rotate_map(value, image.shape)),
        'ShearX': lambda: warped(ops.shear_x_map(value)),
        'ShearY': lambda: warped(ops.shear_y_map(value)),
        'TranslateX': lambda: warped(ops.translate_x_map(value)),
        'TranslateY': lambda: warped(ops.translate_y_map(value)),
        'Cutout': lambda: ops.cutout(image, place[None], value),
        'Identity': lambda: image,
    }[name]()


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize('apply', [layer.apply_jointly, layer.apply_singly])
def test_layer_is_each_operation_alone(apply, channels):
    image, names = pictures(channels), tuple(randaugment.LIBRARY)
    argument = list(map(randaugment.arguments('rising', 7.0, 4.0, 8).__getitem__, names))
    draw = randaugment.draw_layer(jax.random.key(3), image.shape, argument, jnp.full(SIZE, 1.0))
    operation = jnp.arange(-1, SIZE - 1) % (len(names) + 1) - 1  # all, and none
    value = jnp.array([argument[number][place % 2] for place, number in enumerate(operation)])
    draw = draw._replace(operation=operation, value=value)
    result = jax.jit(lambda image, draw: apply(image, draw, randaugment.LIBRARY))(image, draw)
    seen = set()
    for number in range(SIZE):
        name = 'Identity' if operation[number] < 0 else names[operation[number]]
        expected = alone(name, image[number : number + 1], value[number], draw.place[number])[0]
        # Color, Contrast, Brightness, Sharpness: a fused multiply-add may round the other way under jit.
        slack = 1 if name in ('Color', 'Contrast', 'Brightness', 'Sharpness') else 0
        assert np.abs(result[number] - expected).max() <= slack, name
        assert np.mean(result[number] != expected) < 0.02, name
        seen.add((name, bool((expected != image[number]).any())))
    changed = {name for name, different in seen if different}
    assert changed == set(names) - ({'Identity', 'Color'} if channels == 1 else {'Identity'})


def test_draws_are_even_and_independent():
    number, size = 15, 30_000
    argument = [(number, -1 - number) for number in range(number)]
    draw = randaugment.draw_layer(jax.random.key(0), (size, 8, 6, 1), argument, jnp.full(size, 0.7))
    operation, second = np.asarray(draw.operation), np.asarray(draw.value) < 0
    applied = operation >= 0
    expected = np.where(second, -1 - operation, operation)
    np.testing.assert_array_equal(np.asarray(draw.value)[applied], expected[applied])
    np.testing.assert_allclose(applied.mean(), 0.7, atol=4 * np.sqrt(0.21 / size))
    count = np.bincount(operation[applied], minlength=number)
    expected = applied.sum() / number
    # Chi-square, 14 degrees of freedom, p = 0.001; then the sign within each operation, 15 degrees.
    assert ((count - expected) ** 2 / expected).sum() < 36.1
    seconds = np.bincount(operation[applied & second], minlength=number)
    assert (4 * (seconds - count / 2) ** 2 / count).sum() < 37.7
    place = np.asarray(draw.place)
    assert (place.min(0) == 0).all() and (place.max(0) == (7, 5)).all()


def test_layers_draw_anew_and_probability_is_per_image():
    image = pictures(3)
    plain = randaugment.policy(layers=0, operations=('Invert',))(jax.random.key(0), image)
    np.testing.assert_array_equal(plain, image)
    none = randaugment.policy(layers=2, operations=('Invert',), probability=(0.0, 0.0))(
        jax.random.key(0), image
    )
    np.testing.assert_array_equal(none, image)
    one, two = (
        randaugment.policy(layers=layers, operations=('Invert',))(jax.random.key(0), image)
        for layers in (1, 2)
    )
    np.testing.assert_array_equal(one, 255 - image)
    np.testing.assert_array_equal(two, image)
    half = jax.jit(randaugment.policy(layers=2, operations=('Invert', 'Identity')))
    inverted = np.array(
        [
            (half(jax.random.key(seed), image)[:, 0, 0] != image[:, 0, 0]).any(-1)
            for seed in range(8)
        ]
    )
    assert 0.35 < inverted.mean() < 0.65  # layers that repeated each other's draw would cancel: 0
    # With the chance p ~ U(0, 1) shared by 20 layers, the number of inversions spreads far beyond a binomial's.
    count = np.zeros((SIZE,))
    for number in range(20):
        chance = jax.random.uniform(jax.random.key(9), (SIZE,))
        draw = randaugment.draw_layer(jax.random.key(number), image.shape, [(0, 0)], chance)
        count += np.asarray(draw.operation) >= 0
    assert count.var() > 15  # 5 at most, were the chance the same for all


def test_magnitude_zero_and_the_original_numbers():
    image = pictures(3)
    free = ('AutoContrast', 'Equalize', 'Invert')
    names = tuple(name for name in randaugment.LIBRARY if name not in free)
    result = randaugment.policy(layers=3, magnitude=0.0, operations=names)(jax.random.key(0), image)
    np.testing.assert_array_equal(result, image)
    original = randaugment.arguments('original', 16.0, 4.0, 8)
    expected = {
        'Rotate': 48,
        'ShearX': 0.48,
        'TranslateY': 6.4,
        'Color': 2.98,
        'Posterize': 6,
        'Solarize': 256,
        'Cutout': 12,
    }
    for name, value in expected.items():
        np.testing.assert_allclose(original[name][0], value, rtol=1e-6)
    for name, size in (('Rotate', 48), ('ShearY', 0.48), ('TranslateX', 6.4)):
        np.testing.assert_allclose(original[name], (size, -size), rtol=1e-6)
    np.testing.assert_allclose(
        randaugment.arguments('rising', 10.0, 4.0, 8)['Sharpness'], (1.9, 0.1)
    )
    neutral = randaugment.arguments('original', 5.0, 4.0, 8)
    assert (
        neutral['Brightness'] == (1.0, 1.0)
        and neutral['Posterize'] == (2, 2)
        and neutral['Solarize'] == (128, 128)
    )
    weakest = randaugment.arguments('original', 0.0, 4.0, 8)
    assert (
        weakest['Contrast'] == (0.1, 0.1)
        and weakest['Posterize'] == (0, 0)
        and weakest['Rotate'] == (0, 0)
    )


@pytest.mark.parametrize(
    'magnitude, numbers',
    [
        (5.0, dict(Rotate=15, ShearX=0.15, TranslateY=2, Posterize=6, Solarize=128)),
        (5.0, dict(Color=1.45, SolarizeAdd=55, Cutout=4)),
        (20.0, dict(Rotate=60, ShearY=0.6, TranslateX=8, Posterize=1, Solarize=0)),
        (20.0, dict(Contrast=2.8, SolarizeAdd=220, Cutout=16)),
    ],
)
def test_rising_numbers_by_hand(magnitude, numbers):
    """Of half the magnitude 10, and of twice."""
    found = randaugment.arguments('rising', magnitude, 4.0, 8)
    assert {name: found[name][0] for name in numbers} == pytest.approx(numbers)
    assert found['Color'][1] == pytest.approx(max(1 - 0.09 * magnitude, 0))


def test_the_chance_of_an_image_is_that_of_all_its_layers():
    """Each layer adds 1 with a chance drawn from 0 to 1: any count of 20 is equally probable."""
    add = randaugment.policy(20, 0.1, ('SolarizeAdd',), probability=(0.0, 1.0))
    count = np.asarray(jax.jit(add)(jax.random.key(0), jnp.zeros((400, 1, 1, 1))))
    np.testing.assert_allclose((count.mean(), count.var()), (10, 20 * 22 / 12), rtol=0.15)


@pytest.mark.parametrize(
    'name', ['Posterize', 'Solarize', 'SolarizeAdd', 'Cutout', 'Sharpness', 'Rotate']
)
def test_rising_gets_stronger(name):
    image = pictures(1)
    change = [
        float(
            jnp.abs(
                randaugment.policy(layers=1, magnitude=m, operations=(name,), scale='rising')(
                    jax.random.key(0), image
                )
                - image
            ).mean()
        )
        for m in (0.0, 5.0, 10.0)
    ]
    assert change[0] == 0 and change == sorted(change) and change[1] > 0


def test_cutout_at_the_end_is_one_box():
    image = jnp.zeros((SIZE, 20, 20, 3))
    result = np.asarray(
        randaugment.policy(layers=0, operations=('Invert',), cutout=6)(jax.random.key(0), image)
    )[..., 0]
    assert set(np.unique(result)) == {0, 128}
    area = (result > 0).sum((1, 2))
    assert area.max() == 36 and area.min() >= 9  # whole inside, a quarter in a corner
    assert len(np.unique(area)) > 3


@pytest.mark.parametrize(
    'numbers',
    [
        {'operations': ('Rotate', 'Blur')},
        {'operations': ()},
        {'operations': ('Rotate', 'Rotate')},
        {'scale': 'up'},
        {'probability': (0.5, 1.2)},
        {'probability': (0.8, 0.2)},
        {'layers': -1},
        {'magnitude': -1.0},
        {'fill': 256},
    ],
)
def test_refuses(numbers):
    with pytest.raises(ValueError, match='augment randaugment: ' + next(iter(numbers))):
        randaugment.policy(**numbers)
