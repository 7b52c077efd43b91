"""Spatial partitioning: layers on images whose columns are sharded over devices.

On the mesh ('data', 'model') the examples are sharded over 'data' and the columns of each image over
'model'. The compiler partitions elementwise layers, means and products over channels correctly. A
convolution also needs the neighboring columns, the halo. The compiler's own halo exchange has wrong
gradients, without a warning, if a device has few columns (cases in tests/spatial_test.py). So
`windows` exchanges the halo explicitly. A 1x1 convolution needs no halo; but the compiler may shard
its result by channels, as sharded weights are, and gather whole images for the next layer.

Views are computed before images are sharded by columns, with `row_by_row`. The mesh is that of
jax.sharding.use_abstract_mesh around a pass (models/network.py) or the views (data/batches.py).
Without a mesh these functions do not change a program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import AbstractMesh, Mesh, PartitionSpec

CUT = PartitionSpec('data', None, 'model', None)
UNCUT = PartitionSpec('data', None, None, None)


def parts() -> int:
    """The number of devices that share an image."""
    return jax.sharding.get_abstract_mesh().shape.get('model', 1)


def replicate_weights(weights: jax.Array) -> jax.Array:
    """Weights replicated on each device while they are used, however they are stored.

    Without this constraint the compiler moves the images if weights are sharded.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return weights
    return lax.with_sharding_constraint(weights, PartitionSpec())


def shard_columns(image: jax.Array) -> jax.Array:
    """Image [B, H, W, C] sharded over both axes of the mesh; over 'model' only if W is divisible.

    Features [B, D] stay as they are.
    """
    if parts() == 1 or image.ndim != 4:
        return image
    return lax.with_sharding_constraint(image, UNCUT if image.shape[2] % parts() else CUT)


def windows(
    function: Callable, image: jax.Array, kernel: jax.Array, stride: int, pads: list
) -> jax.Array:
    """function(image, kernel, pads) of an image with sharded columns, with halo exchange.

    Args:
      function: of image [B, H, W, C], kernel [h, w, ...] and zero padding ((above, below), (left,
        right)); its output has an element for each window at this `stride`.
      image: [B, H, W, C].
      kernel: [h, w, ...].
      stride: of the windows.
      pads: the padding of the whole image.
    """
    count, width = parts(), image.shape[2]
    if count == 1:
        return function(image, replicate_weights(kernel), pads)
    rows, (left, _) = pads
    outputs = (width + sum(pads[1]) - kernel.shape[1]) // stride + 1
    # Shard i begins at column i * width / count, and has the same share of the output.
    if width % (count * stride) or outputs * stride != width:

        def local(image, kernel):
            return function(image, kernel, pads)

        place = UNCUT  # Too narrow: each device has all columns and computes all of the output.
    else:
        right = max(kernel.shape[1] - stride - left, 0)

        def local(image, kernel):
            return function(with_halo(image, left, right, count), kernel, (rows, (0, 0)))

        place = CUT
    return jax.shard_map(local, in_specs=(place, PartitionSpec()), out_specs=place)(image, kernel)


def with_halo(image: jax.Array, left: int, right: int, count: int) -> jax.Array:
    """A shard [B, H, w, C] with `left` and `right` neighboring columns; zeros beyond the image."""
    width = image.shape[2]
    columns = [image]
    for hop in range(1, -(-left // width) + 1):  # More than one hop if shards are narrow.
        taken = min(width, left - (hop - 1) * width)
        moves = [(i, i + hop) for i in range(count - hop)]
        columns.insert(0, lax.ppermute(image[:, :, width - taken :], 'model', moves))
    for hop in range(1, -(-right // width) + 1):
        taken = min(width, right - (hop - 1) * width)
        moves = [(i, i - hop) for i in range(hop, count)]
        columns.append(lax.ppermute(image[:, :, :taken], 'model', moves))
    return jnp.concatenate(columns, 2)


def row_spec(count: int, mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """The PartitionSpec of `count` rows over all devices, or over groups if they are not divisible."""
    return PartitionSpec('data' if count % mesh.size else mesh.axis_names)


def row_by_row(function: Callable, *arrays: Any) -> Any:
    """function(*arrays) of arrays [B, ...] with independent rows: each device computes its own rows.

    The compiler would gather the whole batch on every device for a gather of pixels or a loop over
    images. Rows are sharded by `row_spec`.
    """
    mesh, count = jax.sharding.get_abstract_mesh(), len(jax.tree.leaves(arrays)[0])
    if mesh.empty or mesh.size == 1:
        return function(*arrays)
    place = row_spec(count, mesh)
    return jax.shard_map(function, in_specs=place, out_specs=place)(*arrays)
