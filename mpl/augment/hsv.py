"""Hue, through Pillow's HSV of three bytes."""

import jax.numpy as jnp


def shift_hue(image, amount):
    """Turns the hue of RGB images float32 [B, H, W, 3] by `amount` [B] of a circle, in [-0.5, 0.5].

    Means what torchvision's `adjust_hue` does with Pillow images: in whole steps of a 256th, hue,
    saturation and value rounded to bytes on the way, so that 0 changes pixels too. Grey images stay.
    """
    if image.shape[-1] == 1:
        return image
    hue, saturation, value = from_rgb(image)
    steps = jnp.trunc(jnp.asarray(amount, jnp.float32) * 255).reshape(-1, 1, 1)
    return to_rgb((hue + steps) % 256, saturation, value)


def from_rgb(image):
    """Hue, saturation and value, each [B, H, W], whole numbers in [0, 255], of image [B, H, W, 3]."""
    red, green, blue = (image[..., channel] for channel in range(3))
    high, low = jnp.max(image, -1), jnp.min(image, -1)
    spread = jnp.maximum(high - low, 1)
    r, g, b = ((high - channel) / spread for channel in (red, green, blue))
    sextant = jnp.where(red == high, b - g, jnp.where(green == high, 2 + r - b, 4 + g - r))
    hue = jnp.where(sextant < 0, sextant / 6 + 1, sextant / 6)
    grey = high == low
    saturation = (high - low) / jnp.maximum(high, 1)
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


def _to_byte(share):
    """share * 255 rounded down; the product is rounded first, to a whole number that may lie above."""
    whole = jnp.floor(share * 255 + 0.5)
    coarse = jnp.floor(share * 4096) / 4096  # so that neither product is rounded
    below = (coarse * 255 - whole) + (share - coarse) * 255 < 0
    return whole - below
