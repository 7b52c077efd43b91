"""The released code's strong view against its arithmetic, spelled out in numpy, one image at a time."""

import augment_pictures as pictures
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.augment import layer, randaugment, released

F = np.float32
SMALL = [
    pictures.BATCHES[name][-8:] for name in ('synthetic_rgb', 'cifar') if name in pictures.BATCHES
]
BATCHES = {'small': np.concatenate(SMALL), 'wide': pictures.waves(3)[:2].repeat(3, 2)}
PLAIN = ('AutoContrast', 'Equalize', 'Invert')  # take no argument


def to_unit(image):
    return image.astype(F) * F(1 / 255)


def to_bytes(unit):
    """Without saturation: what exceeds 255 goes around."""
    return (unit * F(255.5)).astype(np.int64).astype(np.uint8)


def blend(first, second, factor):
    if factor == 0:
        return first
    if factor == 1:
        return second
    first, second = to_unit(first), to_unit(second)
    mixed = first + F(factor) * (second - first)
    return to_bytes(mixed if 0 < factor < 1 else np.clip(mixed, 0, 255))


def grey(image):
    unit = to_unit(image)
    return to_bytes(
        unit[..., :1] * F(0.2989) + unit[..., 1:2] * F(0.587) + unit[..., 2:] * F(0.114)
    )


def autocontrast(channel):
    low, high = F(channel.min()), F(channel.max())
    if high <= low:
        return channel
    scale = F(255) / (high - low)
    return np.clip(channel.astype(F) * scale + -low * scale, 0, 255).astype(np.uint8)


def equalize(channel):
    count = np.bincount(channel.ravel(), minlength=256)
    step = (count.sum() - count[count > 0][-1]) // 255
    if step == 0:
        return channel
    table = np.concatenate([[0], (np.cumsum(count) + step // 2) // step])[:256]
    return np.clip(table, 0, 255).astype(np.uint8)[channel]


def smoothed(image):
    result, wide = image.copy(), image.astype(int)
    height, width = image.shape[:2]
    total = 4 * wide[1:-1, 1:-1]
    for row in range(3):
        for column in range(3):
            total = total + wide[row : height - 2 + row, column : width - 2 + column]
    result[1:-1, 1:-1] = total // 13
    return result


def moved(image, matrix):
    """matrix: (a, b, c, d, e, f) of pixel numbers: x = a column + b row + c, y = d column + e row + f.

    -1 where the source lies on the border of two pixels, and the last bit decides.
    """
    height, width = image.shape[:2]
    row, column = np.mgrid[:height, :width].astype(F)
    a, b, c, d, e, f = (F(value) for value in matrix)
    x, y = a * column + b * row + c, d * column + e * row + f
    doubtful = np.minimum(*(np.abs(v - np.floor(v) - 0.5) for v in (x, y))) < 3e-3
    x, y = (np.round(v).astype(int) for v in (x, y))
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    taken = image.astype(int)[np.clip(y, 0, height - 1), np.clip(x, 0, width - 1)]
    return np.where(doubtful[..., None], -1, np.where(inside[..., None], taken, 128))


def rotate(image, degrees):
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    down, right = image.shape[0] - 1, image.shape[1] - 1
    x = (right - (cos * right - sin * down)) / 2
    y = (down - (sin * right + cos * down)) / 2
    return moved(image, (cos, -sin, x, sin, cos, y))


def by_channel(function):
    return lambda image: np.stack([function(image[..., c]) for c in range(3)], -1)


def contrast(image, factor):
    mean = np.uint8(min(image.shape[0] * image.shape[1] / 256, 255))
    return blend(np.full_like(image, mean), image, factor)


def posterize(image, bits):
    shift = min(int(np.array(8 - bits).astype(np.uint8)), 7)
    return image >> shift << shift


def reference(name, image, magnitude, negative):
    """uint8 [H, W, 3]; translate 4, patch 8."""
    share = magnitude / 10
    sign = -1 if negative else 1
    factor = share * 1.8 + 0.1
    whole = lambda most: int(F(magnitude) / F(10) * F(most))  # noqa: E731
    threshold = np.array(whole(256)).astype(np.uint8)
    slope, pixels = sign * 0.3 * share, sign * 4 * share
    return {
        'AutoContrast': lambda: by_channel(autocontrast)(image),
        'Equalize': lambda: by_channel(equalize)(image),
        'Invert': lambda: 255 - image,
        'Rotate': lambda: rotate(image, sign * 30 * share),
        'Posterize': lambda: posterize(image, whole(4)),
        'Solarize': lambda: np.where(image < threshold, image, 255 - image),
        'Color': lambda: blend(grey(image).repeat(3, -1), image, factor),
        'Contrast': lambda: contrast(image, factor),
        'Brightness': lambda: blend(np.zeros_like(image), image, factor),
        'Sharpness': lambda: blend(smoothed(image), image, factor),
        'ShearX': lambda: moved(image, (1, slope, 0, 0, 1, 0)),
        'ShearY': lambda: moved(image, (1, 0, 0, slope, 1, 0)),
        'TranslateX': lambda: moved(image, (1, 0, pixels, 0, 1, 0)),
        'TranslateY': lambda: moved(image, (1, 0, 0, 0, 1, pixels)),
    }[name]()


@pytest.mark.parametrize('name', [n for n in randaugment.OPERATIONS if n != 'Cutout'])
def test_operation_is_the_released_codes(name, fast_compile):
    @jax.jit
    def apply(image, value):
        draw = layer.Draw(jnp.zeros(len(image), int), jnp.broadcast_to(value, len(image)))
        return layer.apply_jointly(image, draw, {name: released.LIBRARY[name]})

    magnitudes = [10.0] if name in PLAIN else [1.0, 2.0, 5.0, 9.0, 10.0, 16.0, 17.0, 23.0, 27.0]
    for batch in BATCHES if name in ('Contrast', 'Rotate', 'ShearX') else ['small']:
        image = BATCHES[batch]
        for magnitude in magnitudes:
            for negative, value in enumerate(released.arguments(magnitude, 4.0, 8)[name]):
                result = np.asarray(apply(jnp.asarray(image, jnp.float32), jnp.float32(value)))
                assert (result == np.clip(np.round(result), 0, 255)).all()
                expected = np.stack([reference(name, one, magnitude, negative) for one in image])
                clear = expected >= 0
                assert clear.mean() > (0.98 if magnitude == 16 else 0.9)
                # Values go around, so that 0 and 255 are neighbors.
                difference = np.abs((result - expected + 128) % 256 - 128)[clear]
                assert difference.max() <= 1 and (difference > 0).mean() < 0.001


def test_bright_pixels_go_around(fast_compile):
    """By hand: 200 of 255 times 2.98 is 2.337, times 255.5 is 597.2, and 597 - 2 * 256 is 85."""
    image = jnp.full((1, 32, 32, 3), 200.0)
    bright = jax.jit(released.policy(1, 16.0, ('Brightness',), (1.0, 1.0), cutout=0))
    np.testing.assert_array_equal(bright(jax.random.key(0), image), jnp.full_like(image, 85))
    # Contrast: 4 + 2.98 * 196 = 588.08 of 255, times 255.5 is 589.2, and 589 - 512 is 77.
    contrast = jax.jit(released.policy(1, 16.0, ('Contrast',), (1.0, 1.0), cutout=0))
    np.testing.assert_array_equal(contrast(jax.random.key(0), image), jnp.full_like(image, 77))


def test_policy_is_its_operations_and_a_box(fast_compile):
    """Every image of a layer is the input, or one of the operations on it; a box of 16 follows."""
    image = BATCHES['small'][:1].repeat(200, 0)
    key, names = jax.random.key(1), randaugment.OPERATIONS[:-1]
    result, boxed = (
        np.asarray(
            jax.jit(released.policy(layers=1, operations=names, cutout=cutout))(
                key, jnp.asarray(image, jnp.float32)
            )
        )
        for cutout in (0, 16)
    )
    known = {
        (name, negative): reference(name, image[0], 16.0, negative)
        for name in names
        for negative in (0, 1)
    } | {('', 0): image[0]}
    found = [
        {name for name, one in known.items() if np.mean((one != got) & (one >= 0)) < 0.001}
        for got in result
    ]
    assert all(found)
    unchanged = np.mean([('', 0) in names for names in found])
    assert 0.38 < unchanged < 0.62  # the chance is drawn between 0.2 and 0.8
    assert {name for names in found for name, _ in names} == {*names, ''}
    changed = (boxed != result).any(-1)
    assert 200 < changed.sum((1, 2)).max() <= 256 and changed.sum((1, 2)).min() > 32
    assert (boxed[changed] == 128).all()


@pytest.mark.parametrize(
    'numbers', [{'operations': ('Blur',)}, {'probability': (0.5, 2.0)}, {'cutout': -1}]
)
def test_refuses(numbers):
    with pytest.raises(ValueError, match='augment released: ' + next(iter(numbers))):
        released.policy(**numbers)
