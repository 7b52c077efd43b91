"""What our sides of the comparisons with PyTorch share. Knows no torch."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpl.algorithms.interface import Algorithm, Sizes

SIZES = Sizes(0, 0, 10)  # The rules remember nothing of the examples.
NORM = {'bias': 'bias', 'scale': 'weight', 'mean': 'running_mean', 'var': 'running_var'}


def make_run(learner: Algorithm, batch: dict, steps: int) -> tuple[Callable, str, Callable]:
    """For timing: a function that takes some steps, all done when it returns; the device; its peak memory."""
    placed, key = jax.device_put(batch), jax.random.key(0)
    state = jax.jit(lambda key: learner.init(key, placed, SIZES))(key)

    def take(state, placed, key):  # In one call, as training does: a loop of the program.
        return jax.lax.scan(
            lambda state, step: learner.update(state, placed, step, key), state, jnp.arange(steps)
        )

    program = jax.jit(take, donate_argnums=0).lower(state, placed, key).compile()

    def run():
        nonlocal state
        state, _ = program(state, placed, key)
        jax.block_until_ready(state)

    return run, jax.devices()[0].device_kind, peak_memory


def peak_memory() -> int | None:
    """Bytes on the GPU or TPU since its process began, or None on a CPU."""
    return (jax.local_devices()[0].memory_stats() or {}).get('peak_bytes_in_use')


def add_noise(tree: Any, key: jax.Array) -> Any:
    """The tree with noise on all arrays; else all norms were alike, and could be mixed up."""
    leaves, structure = jax.tree.flatten(tree)
    keys = jax.random.split(key, len(leaves))
    return structure.unflatten(
        leaf + 0.1 * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys)
    )


def in_torch(net: Any) -> dict[str, np.ndarray]:
    """A network's parameters and running statistics under torch's names of layers and in its layouts."""
    return dict(
        _in_torch(*leaf)
        for tree in (net.params, net.batch_stats)
        for leaf in jax.tree.leaves_with_path(tree)
    )


def _in_torch(path, leaf):
    *layers, last = (entry.key for entry in path)
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]
    return '.'.join([*layers, NORM.get(last, 'weight')]), np.asarray(jnp.transpose(leaf, axes))
