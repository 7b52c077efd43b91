"""Images cut along their width: what a layer does when devices share each image.

On the mesh ('data', 'model') the examples are spread over 'data' and the columns of each image over
'model'. Elementwise layers, means and products of channels need nothing for that: the compiler
spreads them right. A convolution needs the columns beside its own, the halo, and what the compiler
makes of those has wrong gradients, without a warning, where a device has few columns
(tests/spatial_test.py keeps the cases). So `windows` exchanges them itself. A convolution of single
pixels needs none; but its result the compiler may spread by channels, as weights in parts beside it lie,
and put whole images together for the next.

Views are made before images are cut, by `row_by_row`. The mesh is the one that is named around a pass
(network.py) or views (train.py) by jax.sharding.use_abstract_mesh. Without one nothing here changes a
program.
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
    """Weights in whole on each device while they are used, wherever they are kept.

    Kept in parts and not told, the compiler would rather move the images.
    """
    mesh = jax.sharding.get_abstract_mesh()
    if mesh.empty or mesh.size == 1:
        return weights
    return lax.with_sharding_constraint(weights, PartitionSpec())


def shard_columns(image: jax.Array) -> jax.Array:
    """Image [B, H, W, C] spread over both axes, by its columns where they can be dealt out evenly."""
    if parts() == 1:
        return image
    return lax.with_sharding_constraint(image, UNCUT if image.shape[2] % parts() else CUT)


def windows(
    function: Callable, image: jax.Array, kernel: jax.Array, stride: int, pads: list
) -> jax.Array:
    """function(image, kernel, pads) of an image in parts, each with the columns around it.

    Args:
      function: of image [B, H, W, C], kernel [h, w, ...] and ((above, below), (left, right)) zeros to
        put around the image, which has a result for each window at steps of `stride`.
      image: [B, H, W, C].
      kernel: [h, w, ...].
      stride: of the windows.
      pads: as above, of the whole image.
    """
    count, width = parts(), image.shape[2]
    if count == 1:
        return function(image, replicate_weights(kernel), pads)
    rows, (left, _) = pads
    outputs = (width + sum(pads[1]) - kernel.shape[1]) // stride + 1
    # Part i begins at column i * width / count, and has the same share of the results.
    if width % (count * stride) or outputs * stride != width:

        def local(image, kernel):
            return function(image, kernel, pads)

        place = UNCUT  # Too narrow: each device has all columns, and does the work of all.
    else:
        right = max(kernel.shape[1] - stride - left, 0)

        def local(image, kernel):
            return function(with_halo(image, left, right, count), kernel, (rows, (0, 0)))

        place = CUT
    return jax.shard_map(local, in_specs=(place, PartitionSpec()), out_specs=place)(image, kernel)


def with_halo(image: jax.Array, left: int, right: int, count: int) -> jax.Array:
    """A part [B, H, w, C] of an image, with so many columns of those before and after; zeros at the ends."""
    width = image.shape[2]
    columns = [image]
    for hop in range(1, -(-left // width) + 1):  # More than one where parts are narrow.
        taken = min(width, left - (hop - 1) * width)
        moves = [(i, i + hop) for i in range(count - hop)]
        columns.insert(0, lax.ppermute(image[:, :, width - taken :], 'model', moves))
    for hop in range(1, -(-right // width) + 1):
        taken = min(width, right - (hop - 1) * width)
        moves = [(i, i - hop) for i in range(hop, count)]
        columns.append(lax.ppermute(image[:, :, :taken], 'model', moves))
    return jnp.concatenate(columns, 2)


def row_spec(count: int, mesh: Mesh | AbstractMesh) -> PartitionSpec:
    """Where `count` rows lie that are dealt out over all devices, or, where those are too many, over groups."""
    return PartitionSpec('data' if count % mesh.size else mesh.axis_names)


def row_by_row(function: Callable, *arrays: Any) -> Any:
    """function(*arrays) of arrays [B, ...] whose rows do not meet: each device computes those that it has.

    Left to the compiler, looking up pixels, or a loop over images, puts the whole batch on every device.
    Rows lie as `row_spec` gives.
    """
    mesh, count = jax.sharding.get_abstract_mesh(), len(jax.tree.leaves(arrays)[0])
    if mesh.empty or mesh.size == 1:
        return function(*arrays)
    place = row_spec(count, mesh)
    return jax.shard_map(function, in_specs=place, out_specs=place)(*arrays)
