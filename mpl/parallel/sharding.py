"""Where arrays lie: the mesh of devices, and the layout of state and batches over it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from mpl.parallel import spatial

SMALLEST = 4096  # numbers; to gather arrays below takes longer than it saves memory


def make_mesh(devices: Sequence[jax.Device], model: int = 1) -> Mesh:
    """The devices in groups: examples are spread over groups, one image over the `model` of a group.

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
    """The place of every leaf of a state.

    A rule on shapes alone, so that a weight, its average and what an optimizer keeps of it
    lie in the same place.

    Args:
      shapes: the state, as jax.ShapeDtypeStructs.
      mesh: of the run.
      weights: 'whole' keeps a copy on each device; 'data' or 'model' cuts each array of at
        least SMALLEST numbers into one part per device along that axis of the mesh.

    Raises:
      ValueError: weights is none of these.
    """
    if weights not in ('whole', *mesh.axis_names):
        raise ValueError(f"mesh.weights is {weights!r}; give 'whole', 'data' or 'model'.")

    def place(leaf):
        if weights == 'whole' or leaf.size < SMALLEST:
            return replicated(mesh)
        # The last axis that can be dealt out evenly: channels out, else channels in.
        fits = [axis for axis, n in enumerate(leaf.shape) if n % mesh.shape[weights] == 0]
        cut = fits[-1] if fits else None
        return NamedSharding(
            mesh, PartitionSpec(*(weights if axis == cut else None for axis in range(leaf.ndim)))
        )

    return jax.tree.map(place, shapes)


def replicated(mesh: Mesh) -> NamedSharding:
    """A copy on every device."""
    return NamedSharding(mesh, PartitionSpec())


def local_rows(mesh: Mesh, count: int) -> np.ndarray:
    """Which of `count` rows, cut as by `rows`, lie on devices of this process; ascending."""
    places = rows(mesh, 0).addressable_devices_indices_map((count,)).values()
    return np.unique(np.concatenate([np.arange(count)[index] for index in places]))


def rows(mesh: Mesh, axis: int) -> NamedSharding:
    """Cut along `axis` into one part per group of data-parallel devices."""
    return NamedSharding(mesh, PartitionSpec(*[None] * axis, 'data'))


def shard_over_devices(batch: Any, mesh: Mesh) -> Any:
    """A batch with its rows dealt out over all devices, not only groups, where they can be.

    So an image is augmented by one of the devices that share it, not by each of them.
    """
    return jax.tree.map(
        lambda leaf: jax.lax.with_sharding_constraint(
            leaf, NamedSharding(mesh, spatial.row_spec(len(leaf), mesh))
        ),
        batch,
    )


def shard_over_groups(batch: Any, mesh: Mesh) -> Any:
    """A batch as networks take it: by groups, images [B, H, W, C] by columns too where they can be."""

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
