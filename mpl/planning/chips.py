"""TPU slices and GPUs by name, and the memory and peak rates of their devices."""

import math
import re
from typing import NamedTuple

import jax

from mpl.planning import gpus, tpus

GIB = 2**30
SHARE = 0.75  # of the memory of a GPU that jax takes by default (its page `gpu_memory_allocation`)


class Chip(NamedTuple):
    """Memory and peak rates of one device.

    Memory: of a TPU, the limit that the compiler states for a program that is too big (libtpu
    0.0.51); of a GPU, the share of it that jax takes by default. Rates of v5e and v5p are from
    Google Cloud's pages; those of v2, v3, v4 and v6e are recalled, not verified. A device of v2 and v3
    has half of its chip's.

    Rates of GPUs are those of NVIDIA's data sheets of A100 80GB SXM, H100 SXM, H200 SXM and HGX B200,
    as other pages quote them: dense products (half of a figure `with sparsity`), and NVLink in one
    direction (half of the 600, 900 and 1,800 GB/s). The network is that of the data sheets of DGX
    A100, H100, H200 and B200: for each GPU one adapter, of 200 Gb/s (A100) or 400 Gb/s.
    """

    memory: float  # bytes
    flops: float  # per second, dense bfloat16; on TPUs the default for float32 products too
    bandwidth: float  # bytes per second, of the memory
    links: float  # bytes per second, over all links of a chip, one way
    network: float = math.inf  # bytes per second between hosts; TPUs of a slice have links alone


CHIPS = {
    'v2': Chip(7.48 * GIB, 22.5e12, 350e9, 4 * 62e9 / 2),
    'v3': Chip(15.48 * GIB, 61.5e12, 450e9, 4 * 82e9 / 2),
    'v4': Chip(30.75 * GIB, 275e12, 1228e9, 300e9),
    'v5e': Chip(15.75 * GIB, 197e12, 819e9, 200e9),
    'v5p': Chip(95.73 * GIB, 459e12, 2765e9, 600e9),
    'v6e': Chip(31.24 * GIB, 918e12, 1640e9, 448e9),
    'a100': Chip(SHARE * gpus.GPUS['a100'].memory, 312e12, 2039e9, 300e9, 25e9),
    'h100': Chip(SHARE * gpus.GPUS['h100'].memory, 989.4e12, 3350e9, 450e9, 50e9),
    'h200': Chip(SHARE * gpus.GPUS['h200'].memory, 989.4e12, 4800e9, 450e9, 50e9),
    'b200': Chip(SHARE * gpus.GPUS['b200'].memory, 2250e12, 8000e9, 900e9, 50e9),
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
} | {gpu.kind: name for name, gpu in gpus.GPUS.items()}


def find(device: jax.Device) -> Chip | None:
    """The chip of a device; None if it is unknown."""
    return CHIPS.get(KINDS.get(device.device_kind))


def find_all(devices: list[jax.Device]) -> Chip | None:
    """The chip of all devices, with links at the rate at which they reach each other.

    A ring through several hosts passes all adapters of a host at once, or is bound by its links.
    """
    chip, hosts = find(devices[0]), len({device.process_index for device in devices})
    if chip is None or hosts == 1:
        return chip
    return chip._replace(links=min(chip.links, len(devices) / hosts * chip.network))


def parse(topology: str) -> tuple[str, tuple[int, ...]]:
    """Name and sides: 'v3:32x32' -> 'v3', (32, 32); 'h100:2x8' -> 'h100', (2, 8).

    Raises:
      ValueError: there is no such slice.
    """
    found = re.fullmatch(r'(\w+):(\d+(?:x\d+)*)', topology)
    if not found or found[1] not in CHIPS:
        raise ValueError(
            f'topology {topology!r} is unknown; give a generation of TPUs ({", ".join(tpus.FORMS)}) '
            f'and the chips along each axis of the slice, {tpus.EXAMPLES}; a GPU '
            f'({", ".join(gpus.GPUS)}) and its number, {gpus.EXAMPLES}; or local.'
        )
    name, sides = found[1], tuple(int(side) for side in found[2].split('x'))
    _kind(name).check(name, sides)
    return name, sides


def devices(topology: str) -> list[jax.Device]:
    """The devices of a slice, for ahead-of-time compilation; the present devices for 'local'.

    Raises:
      ValueError: there is no such slice, or the compiler for it is not installed.
    """
    if topology == 'local':
        return jax.devices()
    name, sides = parse(topology)
    return _kind(name).devices(name, sides)


def _kind(name):
    return gpus if name in gpus.GPUS else tpus
