"""Operations against Pillow, on photos, CIFAR-10 and digits."""

import augment_pictures as pictures
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from mpl.augment import ops, warp

BATCHES = pictures.BATCHES


def table(function):
    return lambda image, value: ops.look_up(image, function(image, value))


def warped(function):
    return lambda image, value: warp.nearest(
        image, jnp.broadcast_to(function(image, value), (len(image), 6)), ops.FILL
    )


def transform(coefficients):
    return lambda image, value: image.transform(
        image.size,
        Image.Transform.AFFINE,
        coefficients(value),
        Image.Resampling.NEAREST,
        fillcolor=_fill(image),
    )


def _fill(image):
    return 128 if image.mode == 'L' else (128,) * 3


# name: (ours, Pillow's, arguments, largest difference in pixel values, largest fraction of pixels that differ)
OPERATIONS = {
    'AutoContrast': (
        table(lambda image, _: ops.autocontrast_table(image)),
        lambda image, _: ImageOps.autocontrast(image),
        (0,),
        1,
        0.03,
    ),
    'Equalize': (
        table(lambda image, _: ops.equalize_table(image)),
        lambda image, _: ImageOps.equalize(image),
        (0,),
        0,
        0,
    ),
    'Invert': (
        table(lambda image, _: ops.invert_table()),
        lambda image, _: ImageOps.invert(image),
        (0,),
        0,
        0,
    ),
    'Posterize': (
        table(lambda image, bits: ops.posterize_table(bits)),
        ImageOps.posterize,
        tuple(range(1, 9)),
        0,
        0,
    ),
    'Solarize': (
        table(lambda image, threshold: ops.solarize_table(threshold)),
        ImageOps.solarize,
        (0, 1, 128, 153, 255, 256),
        0,
        0,
    ),
    'Contrast': (
        table(ops.contrast_table),
        lambda image, factor: ImageEnhance.Contrast(image).enhance(factor),
        np.linspace(0, 3, 31),
        1,
        0.01,
    ),
    'Brightness': (
        table(lambda image, factor: ops.brightness_table(factor)),
        lambda image, factor: ImageEnhance.Brightness(image).enhance(factor),
        np.linspace(0, 3, 31),
        1,
        0.01,
    ),
    'Color': (
        ops.color,
        lambda image, factor: ImageEnhance.Color(image).enhance(factor),
        np.linspace(0, 3, 31),
        1,
        0.01,
    ),
    'Sharpness': (
        ops.sharpness,
        lambda image, factor: ImageEnhance.Sharpness(image).enhance(factor),
        np.linspace(0, 3, 31),
        1,
        0.01,
    ),
    'Rotate': (
        warped(lambda image, degrees: ops.rotate_map(degrees, image.shape)),
        lambda image, degrees: image.rotate(degrees, fillcolor=_fill(image)),
        np.linspace(-51, 51, 26),
        255,
        1e-4,
    ),
    'ShearX': (
        warped(lambda image, slope: ops.shear_x_map(slope)),
        transform(lambda slope: (1, slope, 0, 0, 1, 0)),
        np.linspace(-0.5, 0.5, 25),
        0,
        0,
    ),
    'ShearY': (
        warped(lambda image, slope: ops.shear_y_map(slope)),
        transform(lambda slope: (1, 0, 0, slope, 1, 0)),
        np.linspace(-0.5, 0.5, 25),
        0,
        0,
    ),
    'TranslateX': (
        warped(lambda image, pixels: ops.translate_x_map(pixels)),
        transform(lambda pixels: (1, 0, pixels, 0, 1, 0)),
        np.linspace(-9, 9, 25),
        0,
        0,
    ),
    'TranslateY': (
        warped(lambda image, pixels: ops.translate_y_map(pixels)),
        transform(lambda pixels: (1, 0, 0, 0, 1, pixels)),
        np.linspace(-9, 9, 25),
        0,
        0,
    ),
}


def pillow(function, batch, value):
    result = pictures.through_pillow(lambda image: function(image, value), batch)
    return result.astype(np.float32)


@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('name', OPERATIONS)
def test_operation_is_pillows(name, batch):
    image = BATCHES[batch]
    ours, theirs, values, largest, fraction = OPERATIONS[name]
    ours = jax.jit(ours)
    result, expected = [], []
    for value in np.asarray(values, np.float64).tolist():
        value = int(value) if name == 'Posterize' else value
        result.append(np.asarray(ours(jnp.asarray(image, jnp.float32), np.float32(value))))
        expected.append(pillow(theirs, image, value))
    difference = np.abs(np.array(result) - np.array(expected))
    print(f'{name} {batch}: largest {difference.max()}, fraction {(difference > 0).mean():.2e}')
    chex.assert_equal_shape([result[0], image])
    chex.assert_type(result[0], np.float32)
    assert difference.max() <= largest
    assert (difference > 0).mean() <= fraction


def test_blend_is_pillows_for_every_pair_of_values():
    """Without jit there is no fused multiply-add, and not one of 65,536 pairs differs."""
    first, second = np.meshgrid(np.arange(256, dtype=np.uint8), np.arange(256, dtype=np.uint8))
    for factor in np.linspace(0, 3, 61).tolist():
        expected = Image.blend(Image.fromarray(second), Image.fromarray(first), factor)
        result = ops.blend(
            jnp.asarray(first, jnp.float32), jnp.asarray(second, jnp.float32), np.float32(factor)
        )
        np.testing.assert_array_equal(result, np.asarray(expected, np.float32))


def test_solarize_add_and_cutout():
    image = jnp.arange(256.0).reshape(1, 16, 16, 1)
    result = np.asarray(ops.look_up(image, ops.solarize_add_table(110))).ravel()
    expected = [value + 110 if value < 128 else value for value in range(256)]
    np.testing.assert_array_equal(result, expected)
    image = jnp.zeros((3, 8, 9, 2))
    result = np.asarray(
        ops.cutout(image, jnp.array([[4, 4], [0, 8], [7, 0]]), jnp.array([4, 4, 0]), 9.0)
    )
    expected = np.zeros((3, 8, 9, 2))
    expected[0, 2:6, 2:6] = 9
    expected[1, 0:2, 6:9] = 9
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize('batch', BATCHES)
@pytest.mark.parametrize('resample', ['nearest', 'bilinear'])
@pytest.mark.parametrize('kind', ['affine', 'perspective'])
def test_general_warp_is_pillows(kind, resample, batch, fast_compile):
    """Largest difference: 1, where Pillow drops fractions; beside borders, which may fall either way."""
    image = BATCHES[batch][:12]
    height, width = image.shape[1:3]
    apply, difference = jax.jit(getattr(warp, resample)), []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        corner = np.array([[0, 0], [width, 0], [width, height], [0, height]])
        end = corner + rng.uniform(-0.3, 0.3, (4, 2)) * [width, height]
        map = (
            np.array([1, 0, 0, 0, 1, 0]) + rng.uniform(-1, 1, 6) * [0.3, 0.3, 4, 0.3, 0.3, 4]
            if kind == 'affine'
            else np.asarray(warp.perspective(corner[None], end[None])[0], np.float64)
        ).astype(np.float32)
        theirs = pillow(
            lambda image, value: image.transform(
                image.size,
                getattr(Image.Transform, kind.upper()),
                value.tolist(),
                getattr(Image.Resampling, resample.upper()),
                fillcolor=_fill(image),
            ),
            image,
            map,
        )
        ours = apply(jnp.asarray(image, jnp.float32), jnp.tile(map, (len(image), 1)), 128)
        difference.append(np.abs(np.asarray(ours) - theirs))
    above = np.mean(np.array(difference) > (1.01 if resample == 'bilinear' else 0))
    print(f'{kind} {resample} {batch}: largest {np.max(difference)}, fraction {above:.1e}')
    assert above <= 5e-4


def test_perspective_takes_corners_to_corners():
    rng = np.random.default_rng(0)
    start = np.array([[0, 0], [224, 0], [224, 180], [0, 180]]) + rng.uniform(-50, 50, (9, 4, 2))
    end = np.array([[0, 0], [224, 0], [224, 180], [0, 180]]) + rng.uniform(-50, 50, (9, 4, 2))
    a, b, c, d, e, f, g, h = np.asarray(warp.perspective(start, end), np.float64).T[..., None]
    x, y = end[..., 0], end[..., 1]
    divisor = g * x + h * y + 1
    np.testing.assert_allclose((a * x + b * y + c) / divisor, start[..., 0], atol=0.01)
    np.testing.assert_allclose((d * x + e * y + f) / divisor, start[..., 1], atol=0.01)
