"""A strong policy for small grayscale images: one affine warp, brightness and contrast, cutout, noise."""

from collections.abc import Callable, Sequence
from functools import partial

import jax
import jax.numpy as jnp

from mpl.augment import ops, warp
from mpl.parallel import spatial


def policy(
    rotate: float = 0.0,
    shear: float = 0.0,
    scale: Sequence[float] = (1.0, 1.0),
    translate: float = 0.0,
    brightness: Sequence[float] = (1.0, 1.0),
    contrast: Sequence[float] = (1.0, 1.0),
    cutout: int = 0,
    noise: float = 0.0,
    fill: float = 0.0,
) -> Callable:
    """(key, image float32 [B, H, W, C] in [0, 255]) -> the same shape and range. All draws are uniform, per image.

    Args:
        rotate: up to this many degrees either way.
        shear: up to this many pixels sideways per pixel of height, either way.
        scale: (lowest, highest) magnification.
        translate: up to this many pixels, fractions allowed, along each axis. These four are one bilinear warp.
        brightness: (lowest, highest) factor on the pixel values.
        contrast: (lowest, highest) factor on the distance from the mean of the image.
        cutout: side in pixels of the box set to `fill`, with its center anywhere in the image; 0 for none.
        noise: standard deviation of Gaussian noise, in pixel values.
        fill: the pixel value around the image and in the box; the background of the data set.

    Raises ValueError for a value that is not allowed.
    """
    for name, value in (
        ('rotate', rotate),
        ('shear', shear),
        ('translate', translate),
        ('cutout', cutout),
        ('noise', noise),
    ):
        if not value >= 0:
            raise ValueError(f'augment affine: {name}={value!r}; give a number >= 0.')
    for name, value in (('scale', scale), ('brightness', brightness), ('contrast', contrast)):
        if len(value) != 2 or not 0 <= value[0] <= value[1] or name == 'scale' and not value[0] > 0:
            raise ValueError(
                f'augment affine: {name}={value!r}; give (lowest, highest), both positive.'
            )
    if not 0 <= fill <= 255:
        raise ValueError(f'augment affine: fill={fill!r}; give a pixel value in [0, 255].')

    def change(key, image):
        warp_key, light_key, cutout_key, noise_key = jax.random.split(key, 4)
        if rotate or shear or translate or tuple(scale) != (1, 1):
            map = _draw_map(warp_key, image.shape, rotate, shear, scale, translate)
            image = spatial.row_by_row(partial(warp.bilinear, fill=fill), image, map)
        if tuple(contrast) != (1, 1) or tuple(brightness) != (1, 1):
            image = _light(light_key, image, brightness, contrast)
        if cutout:
            image = ops.cutout(image, ops.draw_place(cutout_key, image.shape), cutout, fill)
        if noise:
            image = jnp.clip(image + noise * jax.random.normal(noise_key, image.shape), 0, 255)
        return image

    return change


def _draw_map(key, shape, rotate, shear, scale, translate):
    """Maps [B, 6] of a random rotation, shear, magnification and translation about the center."""
    draw = jax.random.uniform(key, (shape[0], 5), minval=-1, maxval=1)
    angle, slope = jnp.deg2rad(rotate * draw[:, 0]), shear * draw[:, 1]
    size = scale[0] + (scale[1] - scale[0]) * (draw[:, 2] + 1) / 2
    cos, sin = jnp.cos(angle) / size, jnp.sin(angle) / size
    linear = cos, slope * cos - sin, sin, slope * sin + cos
    return warp.centered(linear, (translate * draw[:, 3], translate * draw[:, 4]), shape)


def _light(key, image, brightness, contrast):
    draw = jax.random.uniform(key, (image.shape[0], 1, 1, 2))
    low, high = jnp.array([brightness[0], contrast[0]]), jnp.array([brightness[1], contrast[1]])
    factor = low + (high - low) * draw
    mean = image.mean((1, 2, 3), keepdims=True)
    image = mean + factor[..., 1:] * (image - mean)
    return jnp.clip(factor[..., :1] * image, 0, 255)
