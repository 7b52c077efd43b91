"""Hue, blur and the policy of colors against Pillow and float64."""

import itertools

import augment_pictures as pictures
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from mpl.augment import blur, color, hsv

pytestmark = pytest.mark.usefixtures('fast_compile')
COLORED = {name: batch for name, batch in pictures.BATCHES.items() if batch.shape[-1] == 3}


def test_hsv_is_pillows_for_a_grid_of_all_bytes():
    grid = np.unique(np.r_[0:256:5, 1, 2, 127, 128, 253, 254]).astype(np.uint8)
    cube = np.stack(np.meshgrid(grid, grid, grid, indexing='ij'), -1).reshape(1, -1, len(grid), 3)
    theirs = np.asarray(Image.fromarray(cube[0]).convert('HSV'), np.float32)[None]
    ours = np.stack(jax.jit(hsv.from_rgb)(jnp.asarray(cube, jnp.float32)), -1)
    difference = np.abs(ours - theirs)
    print(f'to HSV: largest {difference.max()}, fraction {(difference > 0).mean():.1e}')
    assert difference.max() == 0
    theirs = np.asarray(Image.fromarray(cube[0], 'HSV').convert('RGB'), np.float32)[None]
    ours = jax.jit(hsv.to_rgb)(*np.moveaxis(cube.astype(np.float32), -1, 0))
    difference = np.abs(np.asarray(ours) - theirs)
    print(f'from HSV: largest {difference.max()}, fraction {(difference > 0).mean():.1e}')
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-5


def turned(image, amount):
    """torchvision's adjust_hue of a Pillow image."""
    hue, saturation, value = image.convert('HSV').split()
    byte = np.asarray(hue) + np.int32(amount * 255).astype(np.uint8)
    return Image.merge('HSV', (Image.fromarray(byte), saturation, value)).convert('RGB')


@pytest.mark.parametrize('batch', COLORED)
def test_hue_is_pillows(batch):
    image, shift, difference = COLORED[batch], jax.jit(hsv.shift_hue), []
    for amount in np.linspace(-0.5, 0.5, 21, dtype=np.float32).tolist():
        ours = shift(jnp.asarray(image, jnp.float32), jnp.full(len(image), amount))
        theirs = pictures.through_pillow(lambda one, amount=amount: turned(one, amount), image)
        difference.append(np.abs(np.asarray(ours) - theirs))
    difference = np.array(difference)
    print(f'{batch}: largest {difference.max()}, fraction {(difference > 0).mean():.1e}')
    assert difference.max() <= 1 and (difference > 0).mean() < 1e-5


@pytest.mark.parametrize('batch', pictures.BATCHES)
def test_blur_is_the_convolution(batch):
    image = pictures.BATCHES[batch][:8]
    sigma = np.linspace(0.1, 2, len(image))
    for kernel in (3, 7, 15):
        if kernel // 2 >= min(image.shape[1:3]):
            continue
        offset = np.arange(kernel) - kernel // 2
        weight = np.exp(-0.5 * (offset / sigma[:, None]) ** 2)
        weight /= weight.sum(1, keepdims=True)
        half = kernel // 2
        exact = image.astype(np.float64)
        for axis, around in ((1, ((0, 0), (half, half), (0, 0), (0, 0))),
                             (2, ((0, 0), (0, 0), (half, half), (0, 0)))):  # fmt: skip
            padded, size = np.pad(exact, around, 'reflect'), exact.shape[axis]
            exact = sum(
                weight[:, k, None, None, None] * padded.take(range(k, k + size), axis)
                for k in range(kernel)
            )
        ours = jax.jit(blur.gaussian, static_argnums=2)(
            jnp.asarray(image, jnp.float32), sigma, kernel
        )
        assert np.abs(np.asarray(ours) - exact).max() <= 0.5 + 1e-3
        assert (np.asarray(ours) == np.round(ours)).all()


def test_blur_beside_pillow():
    """Pillow's is three boxes, and repeats edge pixels: a few pixel values, in the inside, of photos."""
    image = pictures.BATCHES.get('photos', pictures.waves(3).repeat(3, 1).repeat(3, 2))
    difference = {}
    for sigma in (0.5, 1.0, 2.0):
        ours = jax.jit(blur.gaussian, static_argnums=2)(
            jnp.asarray(image, jnp.float32), jnp.full(len(image), sigma), 23
        )
        theirs = pictures.through_pillow(
            lambda one, sigma=sigma: one.filter(ImageFilter.GaussianBlur(sigma)), image
        )
        inside = np.abs(np.asarray(ours) - theirs)[:, 12:-12, 12:-12]
        difference[sigma] = inside.max(), inside.mean()
    print('blur, largest and mean difference to Pillow by sigma:', difference)
    assert max(largest for largest, _ in difference.values()) <= 4
    assert max(mean for _, mean in difference.values()) < 0.5


def test_jitter_is_pillows_in_one_of_the_orders():
    """Each image is one of the 24 orders of the same four Pillow operations, and all orders occur."""
    image = pictures.waves(3)[:1]
    steps = {
        'brightness': (0.4, lambda one: ImageEnhance.Brightness(one).enhance(1.4)),
        'contrast': (0.3, lambda one: ImageEnhance.Contrast(one).enhance(1.3)),
        'saturation': (0.5, lambda one: ImageEnhance.Color(one).enhance(1.5)),
        'hue': (0.2, lambda one: turned(one, 0.2)),
    }
    # A draw of the greatest value, by a distribution that has no other.
    with pytest.MonkeyPatch.context() as patch:
        draw = jax.random.uniform
        patch.setattr(
            jax.random, 'uniform',
            lambda key, shape: jnp.ones(shape) if draws.pop(0) == 'value' else draw(key, shape),
        )  # fmt: skip
        draws = ['order', 'value', 'chance']
        policy = color.policy(
            **{name: strength for name, (strength, _) in steps.items()},
            jitter=1.0, grayscale=0.0, blurred=0.0,
        )  # fmt: skip
        result = policy(jax.random.key(0), jnp.asarray(image, jnp.float32).repeat(150, 0))
    known = []
    for order in itertools.permutations(steps):
        one = pictures.to_pillow(image[0])
        for name in order:
            one = steps[name][1](one)
        known.append(np.asarray(one, np.float32))
    distance = np.abs(np.asarray(result)[:, None] - np.array(known)).mean((2, 3, 4))
    assert distance.min(1).max() < 0.5  # orders differ by 3 and more
    assert len(np.unique(distance.argmin(1))) > 20


def test_chances_and_grey():
    image = jnp.asarray(pictures.waves(3)[:1], jnp.float32).repeat(400, 0)
    key = jax.random.key(3)
    off = dict(jitter=0.0, grayscale=0.0, blurred=0.0)
    for name in off:
        policy = jax.jit(color.policy(**off | {name: 0.3}))
        changed = np.asarray((policy(key, image) != image).any((1, 2, 3)))
        assert 0.22 < changed.mean() < 0.38, name
    grey = jax.jit(color.policy(**off | {'grayscale': 1.0}))(key, image[:2])
    expected = np.asarray(pictures.to_pillow(pictures.waves(3)[0]).convert('L'))
    np.testing.assert_array_equal(grey, np.broadcast_to(expected[None, ..., None], grey.shape))
    single = jnp.asarray(pictures.waves(1), jnp.float32)
    chex.assert_equal_shape([jax.jit(color.policy())(key, single), single])
    np.testing.assert_array_equal(color.policy(**off)(key, image), image)


def test_light_and_hue_are_drawn_between_their_bounds():
    """Brightness from 1 - s to 1 + s, hue either way; a tenth of a circle is 0.6 of a full color."""
    plain = dict(jitter=1.0, contrast=0.0, saturation=0.0, grayscale=0.0, blurred=0.0)
    image, key = jnp.full((500, 3, 3, 3), 100.0), jax.random.key(0)
    light = color.policy(**plain, brightness=0.4, hue=0.0)(key, image)[:, 0, 0, 0]
    found = np.quantile(light, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found, [60, 80, 100, 120, 140], atol=4)
    red = image.at[..., 0].set(200.0)
    turned = np.asarray(color.policy(**plain, brightness=0.0, hue=0.1)(key, red)[:, 0, 0])
    found = np.quantile(turned[:, 1] - turned[:, 2], [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(found, [-60, -30, 0, 30, 60], atol=6)


def test_deviations_of_the_blur_are_drawn_between_their_bounds():
    """By what is left of a bright pixel, 1 / (2 pi sigma^2) of it."""
    dot = jnp.zeros((500, 15, 15, 1)).at[:, 7, 7].set(255.0)
    policy = color.policy(jitter=0.0, grayscale=0.0, blurred=1.0, sigma=(1.0, 3.0), kernel=15)
    middle = np.asarray(policy(jax.random.key(0), dot))[:, 7, 7, 0]
    found, sigma = np.quantile(middle, [0, 0.5, 1]), np.array([3.0, 2.0, 1.0])
    np.testing.assert_allclose(found, 255 / (2 * np.pi * sigma**2), atol=1.5)


def test_numbers_are_alive():
    image, key = jnp.asarray(pictures.waves(3)[:2, :16, :16], jnp.float32), jax.random.key(0)
    base = dict(jitter=1.0, grayscale=0.0, blurred=1.0)
    plain = color.policy(**base)(key, image)
    for name, value in (
        ('brightness', 0.1), ('contrast', 0.1), ('saturation', 0.0), ('hue', 0.5),
        ('sigma', (1.0, 1.0)), ('kernel', 7),
    ):  # fmt: skip
        changed = color.policy(**base | {name: value})(key, image)
        assert float(jnp.abs(changed - plain).mean()) > 0.05, name


@pytest.mark.parametrize(
    'numbers',
    [{'hue': 0.6}, {'brightness': -0.1}, {'jitter': 1.2}, {'sigma': (2.0, 1.0)}, {'kernel': 4}],
)
def test_refuses(numbers):
    with pytest.raises(ValueError, match='augment color: ' + next(iter(numbers))):
        color.policy(**numbers)


def test_refuses_a_kernel_beyond_the_image():
    with pytest.raises(ValueError, match='kernel=19'):
        color.policy(blurred=1.0, kernel=19)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
