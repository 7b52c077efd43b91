"""The strong view of the released Meta Pseudo Labels code, its arithmetic and errors included.

RandAugment in uint8 as in google-research/meta_pseudo_labels/augment.py. Its differences to Pillow
(x = magnitude / 10):

- Blends (Color, Contrast, Brightness and Sharpness) are computed in [0, 1] but clipped to [0, 255]:
  only negative values are clipped. Converted back, times 255.5 and rounded down, bright pixels
  exceed 255 and keep their lowest 8 bits, so white pixels may become dark. A factor of 1 is exact.
- The degenerate image of Contrast is H W / 256, at most 255 (4 for 32 x 32, 196 for 224 x 224), for
  it is the mean of the histogram's counts and not of the grey image.
- Grey has the weights 0.2989, 0.5870, 0.1140, and is rounded down; so is the smoothed image of Sharpness.
- Solarize inverts from int(256 x) modulo 256 upwards: at magnitude 10 everything, at 16 from 153.
- Posterize keeps int(4 x) bits, so more as the magnitude grows, up to 8. Above 8 and at 0 the shift
  by a number of bits that is no such number leaves only the first bit.
- AutoContrast rounds down what Pillow rounds down, but of float32 values.
- Warps are nearest and take their slope from the middle of the first pixel, not from its corner.

Two things depend on how TensorFlow was built. A float beyond 255 becomes a uint8 as on x86 machines,
where the input pipeline ran. The smoothed image of Sharpness is a float32 sum there, which falls
short of a whole number, or does not, by the order of its terms (52 of 256 flat greys do, in one
order, and then are 1 lower); here it does not.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from mpl.augment import ops, randaugment, warp
from mpl.augment.layer import Operation


def policy(
    layers: int = 2,
    magnitude: float = 16.0,
    operations: Sequence[str] = randaugment.OPERATIONS,
    probability: Sequence[float] = (0.2, 0.8),
    translate: float = 4.0,
    patch: int = 8,
    cutout: int = 16,
    fill: float = ops.FILL,
) -> Callable:
    """(key, image float32 [B, H, W, C] in [0, 255]) -> the same shape, whole numbers in the same range.

    The defaults are those for CIFAR-10; for ImageNet the code has magnitude 17, translate 100, patch
    80 and no cutout. It moves the picture again after all this: `strong_geometry` 'twice'.

    Args: those of `randaugment.policy`.

    Raises ValueError for a name or value that is not allowed.
    """
    randaugment.check('released', operations, probability, fill, layers=layers, magnitude=magnitude,
                      translate=translate, patch=patch, cutout=cutout)  # fmt: skip
    argument = arguments(magnitude, translate, patch)
    chosen = {name: (LIBRARY[name], argument[name]) for name in operations}
    return randaugment.build(chosen, layers, probability, cutout, fill)


def arguments(magnitude: float, translate: float, patch: float) -> dict[str, tuple[float, float]]:
    """The two arguments of each operation, as in `randaugment.arguments`; whole numbers from float32."""

    def whole(factor):
        return int(np.float32(magnitude) / np.float32(10) * np.float32(factor))

    return randaugment.arguments('original', magnitude, translate, patch) | {
        'Posterize': (whole(4),) * 2,
        'Solarize': (whole(256) % 256,) * 2,
        'SolarizeAdd': (whole(110),) * 2,
        'Cutout': (2 * whole(patch / 2),) * 2,
    }


def posterize_table(bits):
    shift = 8 - bits
    return ops.posterize_table(8 - jnp.where((shift < 0) | (shift > 7), 7, shift))


def autocontrast_table(image):
    low, high = jnp.min(image, (1, 2))[:, None], jnp.max(image, (1, 2))[:, None]
    scale = 255 / jnp.maximum(high - low, 1)
    value = _product(ops.identity_table(), scale) - _product(low, scale)
    return jnp.where(high > low, jnp.floor(jnp.clip(value, 0, 255)), ops.identity_table())


def _product(value, factor):
    """value * factor for whole values up to 255, rounded; a compiler may leave that out before a sum.

    It decides here whether the highest value becomes 254 or 255. Both parts of the factor give
    products without rounding, so that nothing can be left out.
    """
    bits = jax.lax.bitcast_convert_type(factor, jnp.int32) & ~0xFF
    high = jax.lax.bitcast_convert_type(bits, jnp.float32)
    return value * high + value * (factor - high)


def contrast_table(image, factor):
    mean = min(image.shape[1] * image.shape[2] // 256, 255)
    return blend(ops.identity_table(), float(mean), factor.reshape(-1, 1, 1))


def brightness_table(factor):
    return blend(ops.identity_table(), 0.0, factor.reshape(-1, 1, 1))


def color(image, factor):
    return blend(image, grey(image), factor.reshape(-1, 1, 1, 1))


def sharpness(image, factor):
    return blend(image, ops.smooth(image, rounding=0.0), factor.reshape(-1, 1, 1, 1))


def grey(image):
    """[B, H, W, 1]; the image itself where C = 1."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.split(image * np.float32(1 / 255), 3, axis=-1)
    return jnp.floor((0.2989 * red + 0.587 * green + 0.114 * blue) * 255.5)


def blend(image, degenerate, factor):
    """degenerate + factor (image - degenerate), modulo 256 where that exceeds 255."""
    first, second = degenerate * np.float32(1 / 255), image * np.float32(1 / 255)
    mixed = jnp.maximum(first + factor * (second - first), 0)
    value = (mixed * 255.5).astype(jnp.int32) % 256
    return jnp.where(factor == 1, image, jnp.where(factor == 0, degenerate, value))


LIBRARY = randaugment.LIBRARY | {
    'AutoContrast': Operation('table', lambda image, _: autocontrast_table(image)),
    'Posterize': Operation('table', lambda image, bits: posterize_table(bits)),
    'Contrast': Operation('table', contrast_table),
    'Brightness': Operation('table', lambda image, factor: brightness_table(factor)),
    'Color': Operation('image', color),
    'Sharpness': Operation('image', sharpness),
    'ShearX': Operation('map', lambda image, slope: warp.maps(1, slope, -slope / 2, 0, 1, 0)),
    'ShearY': Operation('map', lambda image, slope: warp.maps(1, 0, 0, slope, 1, -slope / 2)),
}
