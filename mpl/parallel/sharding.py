"""The mesh of devices, and the sharding of state and batches over it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mpl.parallel import spatial

SMALLEST = 4096  # elements; gathering smaller arrays costs time and saves little memory


def make_mesh(devices: Sequence[jax.Device], model: int = 1) -> Mesh:
    """A mesh ('data', 'model'): examples are sharded over groups of `model` devices, images in a group.

    Raises:
      ValueError: the devices do not make groups of `model`.
    """
    if model < 1 or len(devices) % model:
        raise ValueError(
            f'mesh.model is {model}, but the {len(devices)} devices do not make groups of that many; '
            'give a divisor of their number.'
        )
    # Groups may fill an axis of a TPU slice in part: 16 of a cube with sides of 8.
    arranged = mesh_utils.create_device_mesh(
        (len(devices) // model, model), devices, allow_split_physical_axes=True
    )
    return Mesh(arranged, ('data', 'model'), axis_types=(AxisType.Auto, AxisType.Auto))


def layout(shapes: Any, mesh: Mesh, weights: str = 'whole') -> Any:
    """The sharding of every leaf of a state.

    It depends on shapes alone, so that a weight, its average and its optimizer state have the same
    sharding.

    Args:
      shapes: the state, as jax.ShapeDtypeStructs.
      mesh: of the run.
      weights: 'whole' replicates all arrays; 'data' or 'model' shards each array of at least
        SMALLEST elements over that axis of the mesh.

    Raises:
      ValueError: unknown weights.
    """
    if weights not in ('whole', *mesh.axis_names):
        raise ValueError(f"mesh.weights is {weights!r}; give 'whole', 'data' or 'model'.")

    def place(leaf):
        if weights == 'whole' or leaf.size < SMALLEST:
            return replicated(mesh)
        # The last axis that is divisible: output channels, else input channels.
        fits = [axis for axis, n in enumerate(leaf.shape) if n % mesh.shape[weights] == 0]
        cut = fits[-1] if fits else None
        return NamedSharding(
            mesh, PartitionSpec(*(weights if axis == cut else None for axis in range(leaf.ndim)))
        )

    return jax.tree.map(place, shapes)


def replicated(mesh: Mesh) -> NamedSharding:
    """The sharding of an array with a copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh: Mesh, count: int) -> np.ndarray:
    """Indices of the rows on devices of this process, of `count` rows sharded by `rows`; ascending."""
    places = rows(mesh, 0).addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in places]))


def rows(mesh: Mesh, axis: int) -> NamedSharding:
    """The sharding of an array over the groups of data-parallel devices, along `axis`."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'data'))


def shard_over_devices(batch: Any, mesh: Mesh) -> Any:
    """A batch with its rows sharded over all devices, not only groups, if divisible.

    Then one device of a group augments an image, not all of them.
    """
    return jax.tree.map(
        lambda leaf: jax.lax.with_sharding_constraint(
            leaf, NamedSharding(mesh, spatial.row_spec(len(leaf), mesh))
        ),
        batch,
    )


def shard_over_groups(batch: Any, mesh: Mesh) -> Any:
    """A batch sharded for networks: rows over groups, and columns of images [B, H, W, C] in a group."""

    groups = rows(mesh, 0)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return jax.tree.map(
            lambda leaf: (
                spatial.shard_columns(leaf)
                if leaf.ndim == 4
                else jax.lax.with_sharding_constraint(leaf, groups)
            ),
            batch,
        )
