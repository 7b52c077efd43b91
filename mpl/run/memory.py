"""Memory of devices: what a run takes at least, what there is, and what was taken at most."""

import math
import os
import re
import resource
import sys

import jax
from etils import epath

from mpl.run.experiment import Experiment


def check(experiment: Experiment) -> None:
    """Refuses a run that does not fit into the memory of a device.

    A lower bound: the state, and the images of a step or of an evaluation batch. A step needs more,
    see `mpl.plan`.

    Raises:
      ValueError: the lower bound is more than the memory of a device.
    """
    limit = of_device()
    shards = experiment.mesh.shape['data']
    state = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(experiment.state)
    )
    step = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(experiment.batch))
    evaluated = 4 * experiment.config.batch.evaluate * math.prod(experiment.source.image_shape)
    needed = state + max(step, evaluated) // shards
    if limit is not None and needed > limit:
        raise ValueError(
            f'The run takes at least {needed / 2**30:,.1f} GiB of each device ({state / 2**30:,.1f} '
            f'GiB of state, the rest images), but a device has {limit / 2**30:,.1f} GiB; '
            'give smaller networks or batches, or more devices.'
        )


def of_device() -> int | None:
    """Memory of each device of this process in bytes; None if it is not known."""
    device = jax.local_devices()[0]
    if device.platform == 'cpu':
        host = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
        return host // jax.local_device_count()
    stats = device.memory_stats()
    return stats['bytes_limit'] if stats and 'bytes_limit' in stats else None


def peak() -> int:
    """Peak resident memory of this process, in bytes."""
    status = epath.Path('/proc/self/status')
    if status.exists():  # Linux; its getrusage includes the parent process.
        kilobytes = re.search(r'VmHWM:\s+(\d+) kB', status.read_text(encoding='utf-8'))
        if kilobytes:
            return int(kilobytes[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == 'darwin' else peak * 1024


def peak_of_device() -> int | None:
    """Peak memory that arrays of this process took of its first device, in bytes; None on a CPU."""
    stats = jax.local_devices()[0].memory_stats() or {}
    return stats['peak_bytes_in_use'] if 'peak_bytes_in_use' in stats else None
