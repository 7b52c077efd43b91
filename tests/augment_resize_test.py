"""Resampling against Pillow, on photos, CIFAR-10, digits and noise."""

import augment_pictures as pictures
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from mpl.augment import resize


def boxes(rng, number, height, width):
    """Boxes of every kind: large, small, on whole pixels, at the edges, the whole image."""
    share = rng.uniform(0.08, 1, (number, 2)) * [width, height]
    start = rng.uniform(0, 1, (number, 2)) * ([width, height] - share)
    box = np.concatenate([start, start + share], axis=1)
    box[1] = np.round(box[1] + [0, 0, 0.6, 0.6])
    box[2, :2] = 0
    box[3, 2:] = width, height
    box[4] = 0, 0, width, height
    return np.clip(box, 0, [width, height] * 2).astype(np.float32)


def pillow(image, box, size, method):
    picked = getattr(Image.Resampling, method.upper())
    results = [
        np.asarray(
            pictures.to_pillow(one).resize(size[::-1], picked, box=tuple(map(float, around)))
        )
        for one, around in zip(image, box)
    ]
    return np.stack(results).reshape(len(image), *size, -1)


@pytest.mark.parametrize('form', ['cpu', 'other'])
@pytest.mark.parametrize('method', resize.SUPPORT)
@pytest.mark.parametrize('batch', pictures.BATCHES)
def test_resized_crop_is_pillows(batch, method, form, monkeypatch, fast_compile):
    if form == 'other':  # what an accelerator computes, on the CPU
        if batch != 'synthetic_grey':
            pytest.skip('one batch is enough')
        monkeypatch.setattr(
            jax.lax, 'platform_dependent', lambda *args, default, **platforms: default(*args)
        )
    image, size = pictures.BATCHES[batch][:20], (17, 40)  # one axis smaller, one larger
    rng = np.random.default_rng(0)
    crop = jax.jit(lambda image, box: resize.resized_crop(image, box, size, method))
    difference = []
    for _ in range(4):
        box = boxes(rng, *image.shape[:3])
        result, expected = crop(image, box), pillow(image, box, size, method)
        chex.assert_type(result, jnp.float32)
        chex.assert_equal_shape([result, expected])
        difference.append(np.abs(np.asarray(result) - expected))
    fraction = np.mean(np.array(difference) > 0)
    print(f'{batch} {method}: largest {np.max(difference)}, fraction {fraction:.1e}')
    assert np.max(difference) <= 1 and fraction < 0.01


def test_no_change_of_size_is_no_change_and_halving_is_the_mean(fast_compile):
    image = jnp.asarray(pictures.BATCHES['synthetic_rgb'])
    for method in resize.SUPPORT:
        same = jax.jit(lambda image, method=method: resize.resize(image, (32, 32), method))
        np.testing.assert_array_equal(same(image), image)
    plain = jnp.zeros((1, 8, 8, 1), jnp.uint8).at[0, :, 4:].set(200)
    np.testing.assert_array_equal(resize.resize(plain, (1, 1))[0, 0, 0, 0], 100)


def test_refuses():
    image, box = jnp.zeros((2, 8, 8, 3)), jnp.array([[0.0, 0, 8, 8]] * 2)
    for numbers, match in (
        ((image, box, (4, 4), 'lanczos'), "method='lanczos'"),
        ((image, box[:1], (4, 4)), r'box has the shape \(1, 4\)'),
        ((image, box, (4, 0)), r'size=\(4, 0\)'),
    ):
        with pytest.raises(ValueError, match=match):
            resize.resized_crop(*numbers)
