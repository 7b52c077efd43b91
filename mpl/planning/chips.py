"""TPU slices by name, and the memory and peak rates of their devices.

Devices as in jax: half a chip of v2 and v3, a whole chip from v4 on (the two cores of v4 and v5p
are one device).
"""

import math
import os
import re
from typing import NamedTuple

import jax
from jax.experimental import topologies

GIB = 2**30


class Chip(NamedTuple):
    """Memory and peak rates of one device.

    Memory: the limit that the compiler states for a program that is too big (libtpu 0.0.51). Rates
    of v5e and v5p are from Google Cloud's pages; those of v2, v3, v4 and v6e are recalled, not
    verified. The rate of links is the sum over all links of a chip, one way. A device of v2 and v3
    has half of its chip's.
    """

    memory: float  # bytes
    flops: float  # per second, dense bfloat16, also the default precision of float32 products
    bandwidth: float  # bytes per second, of the memory
    links: float  # bytes per second
    axes: int  # of a slice
    largest: int  # chips in a slice


CHIPS = {
    'v2': Chip(7.48 * GIB, 22.5e12, 350e9, 4 * 62e9 / 2, 2, 256),
    'v3': Chip(15.48 * GIB, 61.5e12, 450e9, 4 * 82e9 / 2, 2, 1024),
    'v4': Chip(30.75 * GIB, 275e12, 1228e9, 300e9, 3, 4096),
    'v5e': Chip(15.75 * GIB, 197e12, 819e9, 200e9, 2, 256),
    'v5p': Chip(95.73 * GIB, 459e12, 2765e9, 600e9, 3, 6144),
    'v6e': Chip(31.24 * GIB, 918e12, 1640e9, 448e9, 2, 256),
}
KINDS = {  # as jax names devices
    'TPU v2': 'v2',
    'TPU v3': 'v3',
    'TPU v4': 'v4',
    'TPU v5 lite': 'v5e',
    'TPU v5e': 'v5e',
    'TPU v5': 'v5p',
    'TPU v5p': 'v5p',
    'TPU v6 lite': 'v6e',
    'TPU v6e': 'v6e',
}
HOST = (2, 2, 1)  # chips of one host along each axis


def find(device: jax.Device) -> Chip | None:
    """The chip of a device; None if it is unknown."""
    return CHIPS.get(KINDS.get(device.device_kind))


def parse(topology: str) -> tuple[str, tuple[int, ...]]:
    """Generation and sides of a slice: 'v3:32x32' -> 'v3', (32, 32).

    Raises:
      ValueError: there is no such slice.
    """
    examples = 'such as v3:32x32, v4:4x4x8, v5e:16x16, v5p:8x8x16, v6e:16x16, or local'
    found = re.fullmatch(r'(\w+):(\d+(?:x\d+)+)', topology)
    if not found or found[1] not in CHIPS:
        raise ValueError(
            f'topology {topology!r} is unknown; give a generation ({", ".join(CHIPS)}) and the chips '
            f'along each axis of the slice, {examples}.'
        )
    generation, sides = found[1], tuple(int(side) for side in found[2].split('x'))
    axes, largest = CHIPS[generation].axes, CHIPS[generation].largest
    uneven = [side for side, host in zip(sides, HOST) if side < 1 or side % host]
    # A host of v5e and v6e may be used in part.
    alone = generation in ('v5e', 'v6e') and sides == (1, 1)
    if len(sides) != axes or (uneven and not alone) or math.prod(sides) > largest:
        even = ' x '.join(['even number'] * 2 + ['any'] * (axes - 2))
        raise ValueError(
            f'topology {topology!r} is no slice of {generation}: give {axes} sides, {even}, of at '
            f'most {largest:,} chips in all, {examples}.'
        )
    return generation, sides


def devices(topology: str) -> list[jax.Device]:
    """The devices of a slice, for ahead-of-time compilation; the present devices for 'local'.

    Raises:
      ValueError: there is no such slice, or libtpu, the compiler for it, is not installed.
    """
    if topology == 'local':
        return jax.devices()
    generation, sides = parse(topology)
    more = {}
    if generation == 'v4':
        more['chip_config_name'] = 'megacore'
    if math.prod(sides) == 1:
        more['chips_per_host_bounds'] = (1, 1, 1)
    # This machine is not a TPU host, so libtpu must not query its metadata.
    for name, value in (
        ('TPU_SKIP_MDS_QUERY', '1'),
        ('TPU_ACCELERATOR_TYPE', 'v5litepod-16'),
        ('TPU_WORKER_HOSTNAMES', 'localhost'),
        ('ALLOW_MULTIPLE_LIBTPU_LOAD', '1'),
    ):
        os.environ.setdefault(name, value)
    try:
        found = topologies.get_topology_desc(platform='tpu', topology_name=topology, **more)
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f'Programs for {topology} can not be compiled here ({error}); install what compiles them: '
            'pip install -r launch/requirements-plan.txt'
        ) from error
    return list(found.devices)
