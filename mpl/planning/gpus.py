"""NVIDIA GPUs by name, on one host or several, for ahead-of-time compilation without a GPU.

The CUDA plugin of jax compiles for a description of a GPU, the text of XLA's GpuTargetConfigProto.
There is no device to run on, so nothing is tuned: convolutions get no algorithm and no workspace of
cuDNN, and matrix products the default tiles.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

HOST = 8  # GPUs of a host at most, as in DGX and HGX systems
LARGEST = 4096  # GPUs in all
EXAMPLES = 'such as h100:8 for the GPUs of one host, h100:2x8 for hosts x GPUs'


class Gpu(NamedTuple):
    """What the compiler is told of a GPU.

    Numbers of openxla/xla, xla/backends/gpu/target_config/specs: a100_sxm_80, h100_sxm, h200, b200.
    """

    kind: str  # as jax names the device
    capability: int  # major version of its compute capability
    cores: int  # streaming multiprocessors
    lanes: int  # of float32, in each core
    shared: int  # bytes of shared memory of a core
    block: int  # bytes of shared memory of a block at most
    cache: int  # bytes of its level 2 cache
    clock: float  # GHz
    bandwidth: float  # bytes per second, of the memory
    memory: int  # bytes


GPUS = {
    'a100': Gpu(
        'NVIDIA A100-SXM4-80GB', 8, 108, 64, 167936, 166912, 41943040, 1.41, 2039.04e9, 85100068864
    ),
    'h100': Gpu(
        'NVIDIA H100 80GB HBM3', 9, 132, 128, 233472, 232448, 52428800, 1.98, 3352.32e9, 84942979072
    ),
    'h200': Gpu(
        'NVIDIA H200', 9, 132, 128, 233472, 232448, 52428800, 1.98, 4800e9, 151397597184
    ),
    'b200': Gpu(
        'NVIDIA B200', 10, 148, 128, 233472, 232448, 132644864, 1.965, 7672.32e9, 191514411008
    ),
}  # fmt: skip
# What a plan for them leaves out.
LEFT_OUT = (
    'Compiled without a GPU, never compared with one: peak is a lower bound, without the workspaces '
    'of cuDNN and cuBLAS and the memory of CUDA and NCCL; convolutions and matrix products are not '
    'tuned, and the program on a GPU differs. The compiler counts no FLOPs for a GPU that is not '
    'there. A program that is too big compiles too, and above 80 % of the memory XLA rematerializes '
    'by itself; `fits` compares with the 75 % of the memory that jax takes by default '
    '(XLA_CLIENT_MEM_FRACTION). FLOPs are timed at the rate of bfloat16; float32 products, as TF32, '
    'take at least twice as long. Links are NVLink, all GPUs of a host at full rate; between '
    'hosts one network adapter for each GPU.'
)


def check(name: str, sides: tuple[int, ...]) -> None:
    """Raises ValueError if these are no (GPUs,) or (hosts, GPUs of each)."""
    hosts, count = (1, *sides)[-2:]
    if len(sides) > 2 or not 1 <= count <= HOST or not 1 <= hosts <= LARGEST // count:
        topology = f'{name}:{"x".join(map(str, sides))}'
        raise ValueError(
            f'topology {topology!r} is not known: give 1 to {HOST} GPUs of a host, and in front of '
            f'them the number of hosts, of at most {LARGEST:,} GPUs in all, {EXAMPLES}.'
        )


def devices(name: str, sides: tuple[int, ...]) -> list[jax.Device]:
    """The GPUs (GPUs,) or (hosts, GPUs of each), for ahead-of-time compilation.

    Raises:
      ValueError: the CUDA plugin or the tools that it calls are not installed.
    """
    hosts, count = (1, *sides)[-2:]
    try:
        # Partitions x hosts x GPUs of a host.
        found = topologies.get_topology_desc(
            platform='cuda', target_config=target(GPUS[name]), topology=f'1x{hosts}x{count}'
        ).devices
        _compile_something(found[0])
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f'Programs for {name} cannot be compiled here ({str(error).splitlines()[0]}); install '
            'what compiles them: pip install -r launch/requirements-gpu-plan.txt'
        ) from error
    return list(found)


@functools.cache
def _compile_something(device: jax.Device) -> None:
    """Fails now, in half a second, if ptxas or libdevice is missing: later it would be in minutes."""
    one = jax.ShapeDtypeStruct((8,), jnp.float32, sharding=SingleDeviceSharding(device))
    jax.jit(jnp.sin).lower(one).compile()


def target(gpu: Gpu) -> str:
    """The text of stream_executor.GpuTargetConfigProto, in fields that jaxlib 0.9 knows."""
    return f"""
    gpu_device_info {{
      threads_per_block_limit: 1024  threads_per_warp: 32  threads_per_core_limit: 2048
      shared_memory_per_block: 49152  shared_memory_per_core: {gpu.shared}
      shared_memory_per_block_optin: {gpu.block}
      core_count: {gpu.cores}  fpus_per_core: {gpu.lanes}
      block_dim_limit_x: 2147483647  block_dim_limit_y: 65535  block_dim_limit_z: 65535
      memory_bandwidth: {gpu.bandwidth:.0f}  l2_cache_size: {gpu.cache}
      clock_rate_ghz: {gpu.clock}  device_memory_size: {gpu.memory}
      registers_per_core_limit: 65536  registers_per_block_limit: 65536
      cuda_compute_capability {{ major: {gpu.capability} }}
    }}
    platform_name: "CUDA"
    dnn_version_info {{ major: 9 minor: 10 }}
    device_description_str: "{gpu.kind}"
    """
