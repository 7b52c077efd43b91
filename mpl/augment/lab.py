"""Colors in CIE L*a*b* (white point D65) from sRGB (IEC 61966-2-1)."""

import jax
import jax.numpy as jnp
import numpy as np

RGB_TO_XYZ = np.array(
    [
        [0.4124564, 0.3575761, 0.1804375],
        [0.2126729, 0.7151522, 0.0721750],
        [0.0193339, 0.1191920, 0.9503041],
    ]
)
KINK = 6 / 29  # of f in the definition of L*a*b*


def from_rgb(image: jax.Array) -> jax.Array:
    """L from 0 to 100, a and b of colors in [0, 1], both [..., 3]."""
    linear = jnp.where(image > 0.04045, ((image + 0.055) / 1.055) ** 2.4, image / 12.92)
    relative = RGB_TO_XYZ / RGB_TO_XYZ.sum(1, keepdims=True)  # White is (1, 1, 1).
    xyz = jnp.einsum('...c,dc->...d', linear, relative.astype(np.float32), precision='highest')
    f = jnp.where(xyz > KINK**3, jnp.cbrt(xyz), xyz / (3 * KINK**2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return jnp.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], -1)


def to_gray(lightness: jax.Array) -> jax.Array:
    """The value in [0, 1] of the gray with lightness L from 0 to 100."""
    f = (lightness + 16) / 116
    linear = jnp.where(f > KINK, f**3, 3 * KINK**2 * (f - 4 / 29))
    positive = jnp.maximum(linear, 0.0031308)  # Whose power has a finite derivative.
    return jnp.where(linear > 0.0031308, 1.055 * positive ** (1 / 2.4) - 0.055, 12.92 * linear)
