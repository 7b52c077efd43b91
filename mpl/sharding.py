"""Where arrays lie: the mesh of devices, and the layout of state and batches over it."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec


def make_mesh(devices: Sequence[jax.Device]) -> Mesh:
    """The devices along 'data'. 'model' is there for layouts that cut weights or images."""
    return jax.make_mesh(
        (len(devices), 1),
        ('data', 'model'),
        axis_types=(AxisType.Auto, AxisType.Auto),
        devices=devices,
    )


def layout(shapes: Any, mesh: Mesh) -> Any:
    """The place of every leaf of a state: a copy on each device."""
    return jax.tree.map(lambda _: replicated(mesh), shapes)


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
