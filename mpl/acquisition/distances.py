"""Distances from many images to the nearest of some centers, on all devices, chunk by chunk.

A squared distance is the sum of (x - c)^2 over the dimensions in their order, in float32: without
the cancellation of |x|^2 + |c|^2 - 2 x c, 0 for copies, and the same bits in every chunk, on any
number of devices and in both functions below.
"""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec

ROWS, CENTERS = 512, 16  # of a block of distances, which fits into a cache
CHUNK = 1 << 15  # rows on the devices at a time


def squared(x: jax.Array, c: jax.Array) -> jax.Array:
    """Squared distances float32 [P, n] of x [D, n] to c [D, P]."""

    def add(total, pair):
        return total + (pair[0][None] - pair[1][:, None]) ** 2, None

    return jax.lax.scan(add, jnp.zeros((c.shape[1], x.shape[1])), (x, c))[0]


def lower(
    features: np.ndarray, numbers: np.ndarray, centers: np.ndarray, distance: np.ndarray
) -> None:
    """Lowers `distance` [n], of the images `numbers`, to those from `centers` [P, D], in place.

    One pass over the rows of the images.

    Raises:
      ValueError: a distance is not finite.
    """
    if not len(centers):
        return
    devices = jax.local_devices()
    blocks = -(-len(centers) // CENTERS)
    capacity = CENTERS * 2 ** math.ceil(math.log2(blocks))  # Few shapes to compile.
    padded = np.full((capacity, centers.shape[1]), np.inf, np.float32)
    padded[: len(centers)] = centers
    count = -(-min(CHUNK, len(numbers)) // (ROWS * len(devices))) * ROWS * len(devices)
    update = _make_update(tuple(devices))
    for start in range(0, len(numbers), count):
        chunk = numbers[start : start + count]
        x = np.zeros((count, centers.shape[1]), np.float32)
        old = np.zeros(count, np.float32)
        x[: len(chunk)], old[: len(chunk)] = features[chunk], distance[start : start + count]
        new = np.asarray(update(x, padded, old, blocks))[: len(chunk)]
        distance[start : start + count] = new
    if not np.isfinite(distance).all():
        raise ValueError(
            'The squared distances of features are above the largest float32; scale the features.'
        )


@functools.cache
def _make_update(devices):
    """(x [n, D], centers [P, D], distance [n], number of blocks of centers) -> distance [n]."""
    mesh, rows, whole = Mesh(np.array(devices), 'rows'), PartitionSpec('rows'), PartitionSpec()

    def block(args, centers, blocks):
        x, distance = args

        def lowered(i, distance):
            some = jax.lax.dynamic_slice_in_dim(centers, i * CENTERS, CENTERS, 1)
            return jnp.minimum(distance, jnp.min(squared(x, some), 0))

        return jax.lax.fori_loop(0, blocks, lowered, distance)

    def update(x, centers, distance, blocks):
        split = x.reshape(-1, ROWS, x.shape[1]).transpose(0, 2, 1), distance.reshape(-1, ROWS)
        return jax.lax.map(lambda args: block(args, centers.T, blocks), split).reshape(-1)

    return jax.jit(
        jax.shard_map(
            update, mesh=mesh, in_specs=(rows, whole, rows, whole), out_specs=rows, check_vma=False
        )
    )
