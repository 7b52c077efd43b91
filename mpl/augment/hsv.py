"""Shifts of hue by Pillow's conversion to HSV in bytes.

Maximum difference to Pillow 12: RGB to HSV none; back 1 pixel value, in 1 of 300,000. For hue shifts
of any size on CIFAR-10 and photos 1 in 500,000 (measured in the tests). Exact quotients are often
integers, so the last bit of a rounded quotient decides the result; the divisions below are exact.
"""

import jax
import jax.numpy as jnp


def shift_hue(image, amount):
    """Shifts the hue of RGB images float32 [B, H, W, 3] by `amount` [B] of a circle, in [-0.5, 0.5].

    As torchvision's `adjust_hue` of Pillow images: in steps of 1/256, with hue, saturation and value
    rounded to bytes, so that a shift of 0 changes pixels too. Images with one channel do not change.
    """
    if image.shape[-1] == 1:
        return image
    hue, saturation, value = from_rgb(image)
    amount = jnp.asarray(amount, jnp.float32).reshape(-1, 1, 1)
    steps = jnp.sign(amount) * _to_byte(jnp.abs(amount))
    return to_rgb((hue + steps) % 256, saturation, value)


def from_rgb(image):
    """Hue, saturation and value, each [B, H, W], whole numbers in [0, 255], of image [B, H, W, 3]."""
    red, green, blue = (image[..., channel] for channel in range(3))
    high, low = jnp.max(image, -1), jnp.min(image, -1)
    spread = jnp.maximum(high - low, 1)
    r, g, b = (_divide(high - channel, spread) for channel in (red, green, blue))
    base = jnp.where(red == high, 0.0, jnp.where(green == high, 2.0, 4.0))
    plus = jnp.where(red == high, b, jnp.where(green == high, r, g))
    minus = jnp.where(red == high, g, jnp.where(green == high, b, r))
    # As in Pillow: each line computed in float64, and then rounded to float32.
    difference, rest = _add(plus, -minus)
    sextant, rest2 = _add(base, difference)
    sextant = sextant + (rest2 + rest)
    hue = _divide(sextant, 6.0)
    rest = ((sextant - 4 * hue) - 2 * hue) / 6
    turned, rest2 = _add(jnp.ones_like(hue), hue)
    hue = jnp.where(sextant < 0, turned + (rest2 + rest), hue)
    grey = high == low
    saturation = _divide(high - low, jnp.maximum(high, 1))
    return jnp.where(grey, 0, _to_byte(hue)), jnp.where(grey, 0, _to_byte(saturation)), high


def to_rgb(hue, saturation, value):
    """The image [B, H, W, 3] of hue, saturation and value."""
    share, turn = saturation / 255, hue * 6 / 255
    sextant = jnp.floor(turn)
    rest = turn - sextant
    p, q, t = (
        jnp.floor(value * (1 - share * part) + 0.5)
        for part in (jnp.ones_like(rest), rest, 1 - rest)
    )
    sextant = sextant.astype(jnp.int32) % 6
    red = jnp.select([sextant == k for k in range(5)], [value, q, p, p, t], value)
    green = jnp.select([sextant == k for k in range(5)], [t, value, value, q, p], p)
    blue = jnp.select([sextant == k for k in range(5)], [p, p, t, value, value], q)
    return jnp.stack([red, green, blue], -1)


def _divide(number, divisor):
    """number / divisor, a whole number up to 255, to the last bit; a compiler's own may be off by one."""
    share = number / divisor
    bits = jax.lax.bitcast_convert_type(share, jnp.int32) & ~0xFFF
    high = jax.lax.bitcast_convert_type(bits, jnp.float32)  # so that no product is rounded
    rest = (number - high * divisor) - (share - high) * divisor
    return share + rest / divisor


def _add(first, second):
    """The sum, rounded to float32, and what rounding lost (Knuth 1969)."""
    total = first + second
    part = total - first
    return total, (first - (total - part)) + (second - part)


def _to_byte(share):
    """share * 255 rounded down; the product is rounded first, to a whole number that may lie above."""
    whole = jnp.floor(share * 255 + 0.5)
    coarse = jnp.floor(share * 4096) / 4096  # so that neither product is rounded
    below = (coarse * 255 - whole) + (share - coarse) * 255 < 0
    return whole - below
