"""Resampling of image batches: one crop per image, resized to a common size.

As Pillow's resize (`PIL.Image.resize(size, resample, box=box)`): an antialiasing triangle or cubic
filter, scaled with the reduction; first along rows, then along columns, rounded to integer pixel
values after each. Accelerators multiply with weight matrices, and so do CPUs for small images; for
photos CPUs gather the pixels under the filter alone, which is two to four times as fast. Weights are
float32; Pillow's are float64, rounded to 22 bits. Maximum difference to Pillow 12, over CIFAR-10,
digits and photos: 1 pixel value; bilinear in up to 1 pixel in 100, where a sum is near a half,
bicubic in 1 in 5,000.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

SUPPORT = {'bilinear': 1, 'bicubic': 2}  # half widths of the filters, in pixels
SMALL = 8  # times the pixels under the filter: up to this side CPUs too are faster at products


def resized_crop(
    image: jax.Array, box: jax.Array, size: Sequence[int], method: str = 'bilinear'
) -> jax.Array:
    """The box of each image, resampled to `size`.

    Args:
        image: [B, H, W, C], uint8, or float32 with whole numbers in [0, 255].
        box: float32 [B, 4]: left, top, right, bottom, in pixels from the upper left corner, fractions allowed. Must
            lie within the image and have an area; this is not checked.
        size: (height, width) of the result.
        method: 'bilinear' or 'bicubic'.

    Returns:
        float32 [B, height, width, C], whole numbers in [0, 255]. Near the edge of a box the pixels beyond it count
        too, as long as they lie in the image.

    Raises ValueError for another method, or a box or size of another form.
    """
    if method not in SUPPORT:
        raise ValueError(f'resized_crop: method={method!r}; give one of {", ".join(SUPPORT)}.')
    if box.shape != (len(image), 4):
        raise ValueError(
            f'resized_crop: box has the shape {box.shape}, but the images have {image.shape}; '
            'give (left, top, right, bottom) for each image.'
        )
    if len(size) != 2 or min(size) < 1:
        raise ValueError(f'resized_crop: size={size!r}; give (height, width) in pixels.')
    box = box.astype(jnp.float32)
    image = image.astype(jnp.float32)
    image = _along(image, box[:, 0], box[:, 2], size[1], 2, method)
    return _along(image, box[:, 1], box[:, 3], size[0], 1, method)


def resize(image: jax.Array, size: Sequence[int], method: str = 'bilinear') -> jax.Array:
    """The whole images, as in `resized_crop`."""
    height, width = image.shape[1:3]
    box = jnp.tile(jnp.array([0.0, 0, width, height]), (len(image), 1))
    return resized_crop(image, box, size, method)


def _along(image, low, high, pixels, axis, method):
    """Resamples one axis, 1 or 2, between `low` and `high` [B] to `pixels` pixels."""
    size = image.shape[axis]
    scale = (high - low)[:, None] / pixels
    center = low[:, None] + (jnp.arange(pixels) + 0.5) * scale
    width = jnp.maximum(scale, 1)

    def weigh(index):
        """Weights [B, pixels, N] of the pixels `index` [..., N] in each pixel of the result."""
        weight = _filter((index + 0.5 - center[..., None]) / width[..., None], method)
        return weight / jnp.sum(weight, -1, keepdims=True)

    def multiply(image):
        pattern = 'bxi,byic->byxc' if axis == 2 else 'byi,bixc->byxc'
        return jnp.einsum(pattern, weigh(jnp.arange(size)), image, precision='highest')

    # A box is no larger than the image, which bounds the pixels under the filter.
    taps = min(2 * math.ceil(SUPPORT[method] * max(1, size / pixels)) + 1, size)

    def gather(image):
        first = jnp.floor(center - SUPPORT[method] * width + 0.5).astype(jnp.int32)
        index = jnp.clip(first, 0, size - taps)[..., None] + jnp.arange(taps)

        def one(image, index, weight):
            if axis == 1:
                rows = (image.at[i].get(mode='promise_in_bounds') for i in index.T)
                return sum(row * w[:, None, None] for row, w in zip(rows, weight.T))
            columns = (image.at[:, i].get(mode='promise_in_bounds') for i in index.T)
            return sum(column * w[:, None] for column, w in zip(columns, weight.T))

        return jax.vmap(one)(image, index, weigh(index))

    on_cpu = gather if size > SMALL * taps else multiply
    image = jax.lax.platform_dependent(image, cpu=on_cpu, default=multiply)
    return jnp.clip(jnp.floor(image + 0.5), 0, 255)


def _filter(offset, method):
    """The weight at an offset from the middle of the filter; cubic with a = -1/2 (Keys 1981)."""
    x = jnp.abs(offset)
    if method == 'bilinear':
        return jnp.maximum(1 - x, 0)
    near = (1.5 * x - 2.5) * x * x + 1
    return jnp.where(x < 1, near, jnp.where(x < 2, ((2.5 - 0.5 * x) * x - 4) * x + 2, 0))
