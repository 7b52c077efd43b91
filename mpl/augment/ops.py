"""The image operations of AutoAugment (arXiv 1805.09501, table 6) on batches.

Images and results are float32 [B, H, W, C] with integer pixel values 0..255, C = 1 (gray) or 3 (RGB). Parameters are
scalars or [B], one per image. The operations are those of Pillow. They are made of three primitives: a warp
(`warp.nearest`), a table of 256 entries per image (`look_up`), and a blend with a degenerate image (`blend`).

Largest difference to Pillow 12, in pixel values, over digits, CIFAR-10 and photos (the tests measure it):
Equalize, Invert, Posterize, Solarize, TranslateX, TranslateY, ShearX, ShearY: 0. Brightness, Color, Contrast,
Sharpness: 0, and 1 where a compiler fuses multiply and add (under jit on the CPU, less than 1 pixel in 150).
AutoContrast: 1 in up to 1 pixel in 70, where Pillow's float64 falls just short of a whole number. Rotate: 1 pixel in
100,000 takes the neighbor of its source. Pillow has no SolarizeAdd and no Cutout; they follow the released code of
RandAugment.
"""

import jax
import jax.numpy as jnp

from mpl.augment import warp

FILL = 128  # pixel value outside of a warped image, and of cutout


# Warps: maps float32 [B, 6] for `warp.nearest`. Positive parameters rotate the image counterclockwise, or shift it
# left or up.


def rotate_map(degrees, shape):
    angle = jnp.deg2rad(jnp.asarray(degrees, jnp.float32))
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return warp.centered((cos, -sin, sin, cos), (0, 0), shape)


def shear_x_map(slope):
    return warp.maps(1, slope, 0, 0, 1, 0)


def shear_y_map(slope):
    return warp.maps(1, 0, 0, slope, 1, 0)


def translate_x_map(pixels):
    return warp.maps(1, 0, pixels, 0, 1, 0)


def translate_y_map(pixels):
    return warp.maps(1, 0, 0, 0, 1, pixels)


# Tables: float32 [B, 256, C]; B and C are 1 where all images or all channels share one.


def look_up(image, table):
    """Replaces every pixel by its entry in the table of its image and channel."""
    table = jnp.broadcast_to(table, (image.shape[0], 256, image.shape[-1]))
    entry = jax.vmap(lambda table, index: table.at[index].get(mode='promise_in_bounds'))
    return entry(table.reshape(len(table), -1), _entries(image)).reshape(image.shape)


def _entries(image):
    """Indices of pixels [B, H, W, C] in tables [B, 256 C]: int32 [B, H W C]. Faster than an index per axis."""
    value = image.astype(jnp.uint8).astype(jnp.int32)
    return (value * image.shape[-1] + jnp.arange(image.shape[-1])).reshape(len(image), -1)


def identity_table():
    return jnp.arange(256, dtype=jnp.float32)[None, :, None]


def autocontrast_table(image):
    """Stretches each channel to the full range."""
    low, high = jnp.min(image, (1, 2))[:, None], jnp.max(image, (1, 2))[:, None]
    value = identity_table()
    return jnp.where(
        high > low, jnp.clip(_divide(jnp.maximum(value - low, 0) * 255, high - low), 0, 255), value
    )


def equalize_table(image):
    """Histogram equalization of each channel."""
    pixels, value = image.shape[1] * image.shape[2], identity_table()
    count = histogram(image)
    below = jnp.cumsum(count, axis=1) - count
    last = jnp.sum(
        jnp.where(value == jnp.max(image, (1, 2))[:, None], count, 0), axis=1, keepdims=True
    )
    step = _divide(pixels - last, 255)
    return jnp.where(step > 0, jnp.minimum(_divide(_divide(step, 2) + below, step), 255), value)


def histogram(image):
    """Number of pixels of each value and channel: float32 [B, 256, C]."""
    channels = image.shape[-1]
    count = jax.vmap(
        lambda index: jnp.zeros(256 * channels).at[index].add(1, mode='promise_in_bounds')
    )
    return count(_entries(image)).reshape(-1, 256, channels)


def invert_table():
    return 255 - identity_table()


def posterize_table(bits):
    """Keeps the first `bits` bits of each pixel; 8 keeps all, 0 none."""
    step = jnp.exp2(8 - _per_image(bits))
    return _whole(identity_table() / step) * step


def solarize_table(threshold):
    """Inverts the pixels of at least `threshold`; 256 inverts none, 0 all."""
    return jnp.where(
        identity_table() < _per_image(threshold), identity_table(), 255 - identity_table()
    )


def solarize_add_table(amount):
    """Adds `amount` to the pixels below 128."""
    return jnp.where(
        identity_table() < 128,
        jnp.clip(identity_table() + _per_image(amount), 0, 255),
        identity_table(),
    )


def brightness_table(factor):
    """Blend with black."""
    return blend(identity_table(), 0.0, _per_image(factor))


def contrast_table(image, factor):
    """Blend with the mean grey of the image."""
    mean = jnp.floor(jnp.mean(grey(image), (1, 2)) + 0.5)[:, None]
    return blend(identity_table(), mean, _per_image(factor))


def _per_image(parameter):
    return jnp.reshape(jnp.asarray(parameter, jnp.float32), (-1, 1, 1))


def _divide(number, divisor):
    """Integer division of whole numbers, exact in spite of float32 rounding and approximate reciprocals."""
    return _whole((number + 0.5) / jnp.maximum(divisor, 1))


# Blends.


def blend(image, degenerate, factor):
    """degenerate + factor (image - degenerate), clipped and rounded down; a factor above 1 extrapolates."""
    return _whole(jnp.clip(degenerate + factor * (image - degenerate), 0, 255))


def color(image, factor):
    """Blend with the grey image."""
    return blend(image, grey(image), _per_image(factor)[..., None])


def sharpness(image, factor):
    """Blend with the smoothed image."""
    return blend(image, smooth(image), _per_image(factor)[..., None])


def grey(image):
    """Luma (ITU-R 601-2) [B, H, W, 1], whole numbers; the image itself where C = 1."""
    if image.shape[-1] == 1:
        return image
    red, green, blue = jnp.split(image.astype(jnp.int32), 3, axis=-1)
    return (red * 19595 + green * 38470 + blue * 7471 + 32768 >> 16).astype(jnp.float32)


def smooth(image, rounding=0.5):
    """Weighted means over 3 x 3 pixels, weight 5 for the center; border pixels do not change."""
    height, width = image.shape[1:3]
    if min(height, width) < 3:
        return image
    rows = image[:, :-2] + image[:, 1:-1] + image[:, 2:]
    total = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:] + 4 * image[:, 1:-1, 1:-1]
    return image.at[:, 1:-1, 1:-1].set(_whole(total / 13 + rounding))


def _whole(value):
    """Floor of values >= 0. `jnp.floor` is a function call per pixel on CPUs when it is fused."""
    return value.astype(jnp.int32).astype(jnp.float32)


# Boxes.


def draw_place(key, shape):
    """A pixel (row, column) in each image of a batch of shape [B, H, W, C], int32 [B, 2]."""
    return jax.random.randint(key, (shape[0], 2), 0, jnp.array(shape[1:3]))


def cutout(image, place, side, fill=FILL):
    """Sets a box of `side` pixels (scalar or [B]) centered at `place` [B, 2] to `fill`, clipped to the image."""
    side = jnp.reshape(jnp.asarray(side, jnp.int32), (-1, 1))
    first = place - side // 2

    def within(axis):
        index = jnp.arange(image.shape[axis + 1])
        return (index >= first[:, axis : axis + 1]) & (index < first[:, axis : axis + 1] + side)

    return jnp.where(within(0)[:, :, None, None] & within(1)[:, None, :, None], fill, image)
