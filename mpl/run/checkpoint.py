"""Checkpoints of a run: saved in the background by Orbax, believed only if intact."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from etils import epath
from orbax import checkpoint as ocp

from mpl.run import metrics

KEPT = 3


def open_folder(folder: epath.Path) -> ocp.CheckpointManager:
    """A handle on the checkpoints of a run; makes the folder. Close it, or saves are lost."""
    return ocp.CheckpointManager(
        folder if metrics.is_remote(folder) else folder.resolve(),  # Orbax refuses relative paths.
        options=ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True),
        item_names=('state', 'record'),
    )


def save(manager: ocp.CheckpointManager, step: int, state: Any, record: dict) -> None:
    """Starts saving; a JSON-able record of the run so far goes with the state.

    Raises:
      FloatingPointError: the state is not finite; nothing is saved.
    """
    if not is_finite(state):
        raise FloatingPointError(
            f'The weights are not finite after step {step}; lower the learning rate or clip the '
            'gradient (clip_norm). Checkpoints from before are kept.'
        )
    record = record | {'fingerprint': int(fingerprint(state))}
    manager.save(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(record)
        ),
    )


def restore(
    manager: ocp.CheckpointManager, shapes: Any, set_aside: Callable[[int], None] | None = None
) -> tuple[int, Any, dict] | None:
    """The newest intact checkpoint as (step, state, record); None if there never was one.

    Args:
      manager: of the folder.
      shapes: the state as jax.ShapeDtypeStructs with the wanted shardings, which may
        be on another number of devices than the state was saved from.
      set_aside: called with the step of each damaged checkpoint once an intact one
        is found, so that its number is free again; None to only read.

    Raises:
      ValueError: there are checkpoints and none is intact. Nothing was changed.
    """
    damaged = []
    steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        try:
            saved = manager.restore(
                step,
                args=ocp.args.Composite(
                    state=ocp.args.StandardRestore(shapes), record=ocp.args.JsonRestore()
                ),
            )
            if saved.record['fingerprint'] != int(fingerprint(saved.state)):
                raise ValueError('its numbers are not those that were saved')
        except Exception as error:  # Orbax and its storage raise whatever they meet.
            reason = str(error).strip().splitlines()[0][:200] if str(error) else repr(error)
            logging.warning(
                'The checkpoint of step %d is damaged (%s); trying the one before.', step, reason
            )
            damaged.append(step)
            continue
        if set_aside is not None:
            for bad in damaged:
                set_aside(bad)
        return step, saved.state, saved.record
    if steps:
        raise ValueError(
            f'None of the checkpoints in {manager.directory} (steps {sorted(steps)}) can be read; '
            'nothing was changed. Give another --workdir, or delete the folder to start anew.'
        )
    return None


@jax.jit
def is_finite(state: Any) -> jax.Array:
    """Whether every float of a state is finite, bool."""
    floats = [x for x in jax.tree.leaves(state) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in floats]))


@jax.jit
def fingerprint(state: Any) -> jax.Array:
    """A 32-bit number of all bits of a state and their places, uint32.

    Sums of integers wrap and commute, so it is the same however the state is laid
    out over devices; any single changed bit changes it.
    """
    total = jnp.zeros((), jnp.uint32)
    for number, leaf in enumerate(jax.tree.leaves(state)):
        width = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
        if leaf.dtype == jnp.bool_:
            leaf = leaf.astype(jnp.uint8)
        bits = jax.lax.bitcast_convert_type(leaf, width).astype(jnp.uint32)
        weight = jnp.full(bits.shape, 2 * number + 1, jnp.uint32)
        for axis in range(bits.ndim):
            # Odd steps of weight: even sums stay odd, so that no bit is multiplied away.
            place = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
            weight += place * jnp.uint32(2 * (7919 * axis + 104729) & 0xFFFFFFFF)
        total += jnp.sum(bits * weight, dtype=jnp.uint32)
    return total
