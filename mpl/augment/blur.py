"""Gaussian blur of image batches."""

import jax.numpy as jnp


def gaussian(image, sigma, kernel: int):
    """Images float32 [B, H, W, C] under a Gaussian of deviation `sigma` [B] pixels, cut to `kernel` pixels, odd.

    As torchvision's `gaussian_blur`: beyond the edge the image is reflected, and values are rounded
    to whole ones. Against a convolution in float64: 1 pixel value where a half rounds otherwise.
    `PIL.ImageFilter.GaussianBlur` is three box filters with edge pixels repeated: away from edges,
    and where `kernel` holds the Gaussian (6 sigma), photos differ by a few pixel values.

    Raises ValueError for an even kernel, or one that the image can not be reflected for.
    """
    half = kernel // 2
    if kernel % 2 == 0 or half >= min(image.shape[1:3]):
        raise ValueError(
            f'augment blur: kernel={kernel}, images {image.shape}; give an odd number of pixels '
            'below twice the side of the image.'
        )
    offset = jnp.arange(half + 1)
    sigma = jnp.maximum(jnp.asarray(sigma, jnp.float32), 1e-3).reshape(-1, 1)
    weight = jnp.exp(-0.5 * (offset / sigma) ** 2)
    weight = weight / (2 * jnp.sum(weight, 1, keepdims=True) - 1)
    for axis in (1, 2):
        image = _along(image, weight[:, :, None, None, None], axis, half)
    return jnp.floor(image + 0.5)


def _along(image, weight, axis, half):
    size = image.shape[axis]
    around = [(half, half) if number == axis else (0, 0) for number in range(4)]
    padded = jnp.pad(image, around, 'reflect')

    def moved(offset):
        index = [slice(None)] * 4
        index[axis] = slice(half + offset, half + offset + size)
        return padded[tuple(index)]

    return weight[:, 0] * image + sum(
        weight[:, k] * (moved(k) + moved(-k)) for k in range(1, half + 1)
    )
