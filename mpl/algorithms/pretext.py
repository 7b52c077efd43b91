"""Transformations and targets of pretext tasks: rotations, tiles, holes, colors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

from mpl.algorithms import losses
from mpl.augment import lab

EPSILON = 1e-5  # added to the variance of a tile
GAMUT = 32  # values of each channel of RGB that are tried for the bins of colors
NEAREST = 10  # bins of a soft code of a color
DEVIATION = 5.0  # of its Gaussian weights, in units of a and b


def rotations(image: jax.Array) -> list[jax.Array]:
    """The image [B, H, H, C], and it turned by 90, 180 and 270 degrees: transposed and flipped, exact.

    Raises:
      ValueError: the images are not square.
    """
    height, width = image.shape[1:3]
    if height != width:
        raise ValueError(
            f'Rotations are of square images, since they are in one batch, and these are {height} x '
            f'{width}; crop or resize them to squares (views.size, source.size).'
        )
    return [jnp.rot90(image, turns, (1, 2)) for turns in range(4)]


def rotation_loss(logits: list[jax.Array]) -> tuple[jax.Array, jax.Array]:
    """Mean cross-entropy of the rotation of `rotations`' images, and the accuracy; four arrays [B, 4].

    Raises:
      ValueError: the head has another number of outputs.
    """
    check_outputs(logits[0], 4, 'one for each rotation')
    label = [jnp.full(len(one), turns, jnp.int32) for turns, one in enumerate(logits)]
    value = sum(losses.cross_entropy(*both) for both in zip(logits, label)) / 4
    return value, sum(losses.accuracy(*both) for both in zip(logits, label)) / 4


def check_outputs(logits: jax.Array, count: int, meaning: str) -> None:
    """Raises ValueError if the head of a pretext task does not have `count` outputs."""
    if logits.shape[-1] != count:
        raise ValueError(
            f'The head of the pretext task has {logits.shape[-1]} outputs, but the task has {count}, '
            f'{meaning}; set the last of its model.widths to {count}.'
        )


@functools.cache
def permutations(tiles: int, count: int) -> np.ndarray:
    """Permutations that are far from each other, int [count, tiles], always the same.

    Greedy as in the released code of arXiv 1603.09246: the next one has the largest mean Hamming distance
    to those chosen before.

    Raises:
      ValueError: there are fewer than `count`, or count is below 2.
    """
    every = np.array([*itertools.permutations(range(tiles))], np.int8)
    if not 2 <= count <= len(every):
        raise ValueError(
            f'algorithm.permutations is {count}; give a number from 2 to {len(every)}, the number of '
            f'permutations of {tiles} tiles.'
        )
    chosen, distance = [0], np.zeros(len(every), np.int64)
    while len(chosen) < count:
        distance += np.sum(every != every[chosen[-1]], 1)
        distance[chosen[-1]] = -(2**40)
        chosen.append(int(np.argmax(distance)))
    return every[chosen].astype(np.int32)


def cut_tiles(key: jax.Array, image: jax.Array, grid: int, size: int) -> jax.Array:
    """A random square of each of grid x grid cells, [B, grid * grid, size, size, C], standardized.

    The gaps between tiles keep edges from being continued, and the standardization of each tile by its own
    mean and deviation by channel keeps its brightness from telling its place (arXiv 1603.09246, section 4.2).

    Raises:
      ValueError: the images are not square, a tile is larger than a cell, or is one pixel.
    """
    count, height, width, _ = image.shape
    if height != width:
        raise ValueError(
            f'Tiles are of square images, and these are {height} x {width}; crop or resize them to squares '
            '(views.size, source.size).'
        )
    cell = min(height, width) // grid
    if not 2 <= size <= cell:
        raise ValueError(
            f'algorithm.tile is {size}, but images of {height} x {width} have {grid} x {grid} cells of '
            f'{cell} pixels; give a number from 2 to {cell}.'
        )
    offset = jax.random.randint(key, (count, grid * grid, 2), 0, cell - size + 1)
    corner = np.stack(np.meshgrid(np.arange(grid), np.arange(grid), indexing='ij'), -1)
    offset += corner.reshape(1, -1, 2) * cell
    rows = offset[..., :1] + jnp.arange(size)
    columns = offset[..., 1:] + jnp.arange(size)

    def cut(one, rows, columns):
        return one[rows[:, :, None], columns[:, None, :]]

    tiles = jax.vmap(cut)(image, rows, columns)
    mean, variance = (f(tiles, (2, 3), keepdims=True) for f in (jnp.mean, jnp.var))
    return (tiles - mean) * jax.lax.rsqrt(variance + EPSILON)


def cut_hole(image: jax.Array, size: int, overlap: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Images without their center, what is to be predicted, and which of it is hidden.

    Args:
      image: float32 [B, H, W, C], standardized, so that 0 is the mean color.
      size: of the square in the center that is predicted.
      overlap: pixels at its rim that are left in the image (arXiv 1604.07379, section 3.2).

    Returns:
      The images with 0 in the hole [B, H, W, C]; the square [B, size, size, C]; bool [size, size].

    Raises:
      ValueError: the square is not smaller than the image, or has no hole.
    """
    height, width = image.shape[1:3]
    if not 2 * overlap < size < min(height, width) or overlap < 0:
        raise ValueError(
            f'algorithm.hole is {size} and overlap {overlap}, but the images have {height} x {width} '
            'pixels; give a hole of less than the image and of more than twice the overlap.'
        )
    top, left = (height - size) // 2, (width - size) // 2
    inside = np.zeros((size, size), bool)
    inside[overlap : size - overlap, overlap : size - overlap] = True
    hidden = np.zeros((height, width, 1), bool)
    hidden[top : top + size, left : left + size, 0] = inside
    square = image[:, top : top + size, left : left + size]
    return jnp.where(hidden, 0, image), square, jnp.asarray(inside)


@functools.cache
def color_bins(spacing: float) -> np.ndarray:
    """The centers (a, b) of the squares of this size of the ab plane that have a color of sRGB, [Q, 2].

    313 with spacing 10 in arXiv 1603.08511, section 2.2, whose list also has squares at the border of the
    gamut; these are the squares with one of 32^3 colors.
    """
    steps = np.linspace(0, 1, GAMUT)
    every = np.stack(np.meshgrid(steps, steps, steps), -1).reshape(-1, 3)
    with jax.ensure_compile_time_eval():
        ab = np.asarray(lab.from_rgb(jnp.asarray(every, jnp.float32)))[:, 1:]
    return np.unique(np.rint(ab / spacing), axis=0).astype(np.float32) * spacing


def color_codes(ab: jax.Array, bins: np.ndarray) -> jax.Array:
    """Soft codes [..., Q] of colors ab [..., 2]: Gaussian weights of the nearest bins, with sum 1."""
    square = jnp.sum((ab[..., None, :] - bins) ** 2, -1)
    nearest, index = jax.lax.top_k(-square, min(NEAREST, len(bins)))
    weight = jax.nn.softmax(nearest / (2 * DEVIATION**2))
    return jnp.sum(weight[..., None] * jax.nn.one_hot(index, len(bins)), -2)
