"""TPU slices by name.

Devices as in jax: half a chip of v2 and v3, a whole chip from v4 on (the two cores of v4 and v5p
are one device).
"""

import math
import os
from typing import NamedTuple

import jax
from jax.experimental import topologies


class Form(NamedTuple):
    """What slices of a generation have in common."""

    axes: int
    largest: int  # chips in a slice


FORMS = {
    'v2': Form(2, 256),
    'v3': Form(2, 1024),
    'v4': Form(3, 4096),
    'v5e': Form(2, 256),
    'v5p': Form(3, 6144),
    'v6e': Form(2, 256),
}
HOST = (2, 2, 1)  # chips of one host along each axis
EXAMPLES = 'such as v3:32x32, v4:4x4x8, v5e:16x16, v5p:8x8x16, v6e:16x16'


def check(generation: str, sides: tuple[int, ...]) -> None:
    """Raises ValueError if the generation has no slice with these sides, in chips."""
    axes, largest = FORMS[generation]
    uneven = [side for side, host in zip(sides, HOST) if side < 1 or side % host]
    # A host of v5e and v6e may be used in part.
    alone = generation in ('v5e', 'v6e') and sides == (1, 1)
    if len(sides) != axes or (uneven and not alone) or math.prod(sides) > largest:
        topology = f'{generation}:{"x".join(map(str, sides))}'
        even = ' x '.join(['even number'] * 2 + ['any'] * (axes - 2))
        raise ValueError(
            f'topology {topology!r} is no slice of {generation}: give {axes} sides, {even}, of at '
            f'most {largest:,} chips in all, {EXAMPLES}, or local.'
        )


def devices(generation: str, sides: tuple[int, ...]) -> list[jax.Device]:
    """The devices of a slice, for ahead-of-time compilation.

    Raises:
      ValueError: libtpu, the compiler for it, is not installed.
    """
    topology, more = f'{generation}:{"x".join(map(str, sides))}', {}
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
            f'Programs for {topology} cannot be compiled here ({error}); install what compiles them: '
            'pip install -r launch/requirements-plan.txt'
        ) from error
    return list(found.devices)
