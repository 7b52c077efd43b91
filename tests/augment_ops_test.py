"""Operations against Pillow, on photos, CIFAR-10 and digits."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps
from sklearn import datasets

from mpl.augment import ops, warp

DATA = Path(__file__).parents[1] / '../shared/data'


def synthetic(channels):
    """Smooth waves with noise, and a flat and a two-valued image, for which tables have special cases."""
    rng = np.random.default_rng(0)
    grid = np.linspace(0, 6, 32)
    wave = np.sin(
        grid[:, None, None] * rng.uniform(0.2, 2, (1, 6, 1, 1, channels))[0]
        + grid[:, None] * rng.uniform(0.2, 2, (6, 1, 1, channels))
    )
    image = np.clip(128 + 90 * wave + rng.normal(0, 12, wave.shape), 0, 255).astype(np.uint8)
    return np.concatenate(
        [image, np.full_like(image[:1], 77), np.where(image[:1] > 99, 200, 40).astype(np.uint8)]
    )


def photos():
    files = sorted((DATA / 'photos').rglob('*.jp*g'))[:24:3]
    return [np.asarray(ImageOps.fit(Image.open(file).convert('RGB'), (96, 80))) for file in files]


def cifar():
    folder = DATA / 'cifar10'
    if not folder.exists():
        return []
    import tensorflow_datasets as tfds

    source = tfds.data_source('cifar10', data_dir=str(DATA), split='test', download=False)
    return [source[number]['image'] for number in range(0, 200, 10)]


BATCHES = {
    'synthetic_grey': synthetic(1),
    'synthetic_rgb': synthetic(3),
    'digits': (datasets.load_digits().images[:24, :, :, None] * 255 / 16).astype(np.uint8),
    'photos': np.array(photos()),
    'cifar': np.array(cifar()),
}
BATCHES = {name: batch for name, batch in BATCHES.items() if len(batch)}


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
        0.001,
    ),
    'ShearX': (
        warped(lambda image, slope: ops.shear_x_map(slope)),
        transform(lambda slope: (1, slope, 0, 0, 1, 0)),
        np.linspace(-0.5, 0.5, 25),
        255,
        0.001,
    ),
    'ShearY': (
        warped(lambda image, slope: ops.shear_y_map(slope)),
        transform(lambda slope: (1, 0, 0, slope, 1, 0)),
        np.linspace(-0.5, 0.5, 25),
        255,
        0.001,
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
    mode = batch[..., 0] if batch.shape[-1] == 1 else batch
    result = np.stack([np.asarray(function(Image.fromarray(image), value)) for image in mode])
    return result.reshape(batch.shape).astype(np.float32)


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
    assert result[0].shape == image.shape and result[0].dtype == np.float32
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
def test_bilinear_is_pillows(batch):
    image = BATCHES[batch]
    bilinear = jax.jit(warp.bilinear)
    difference = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        map = np.array([1, 0, 0, 0, 1, 0]) + rng.uniform(-1, 1, 6) * [0.3, 0.3, 4, 0.3, 0.3, 4]
        theirs = pillow(
            lambda image, value: image.transform(
                image.size,
                Image.Transform.AFFINE,
                value,
                Image.Resampling.BILINEAR,
                fillcolor=_fill(image),
            ),
            image,
            map,
        )
        ours = bilinear(
            jnp.asarray(image, jnp.float32),
            jnp.tile(jnp.asarray(map, jnp.float32), (len(image), 1)),
            128,
        )
        difference.append(np.abs(np.asarray(ours) - theirs))
    print(
        f'bilinear {batch}: largest {np.max(difference)}, above 1: {np.mean(np.array(difference) > 1.01):.1e}'
    )
    assert (
        np.mean(np.array(difference) > 1.01) <= 1e-4
    )  # Pillow drops fractions; a border may fall either way
