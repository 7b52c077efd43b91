"""Checkpoints of a run: saved in the background by Orbax, believed only if intact."""

import contextlib
import glob
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
from absl import logging
from etils import epath
from orbax import checkpoint as ocp

from mpl.run import records
from mpl.run.paths import is_remote

KEPT = 3


class LiteralPath(type(epath.Path())):
    """A path on a disk whose own characters are no pattern: epath's `glob` takes them for one.

    Orbax globs below the folder of a checkpoint, and without this finds nothing in 'lr[0.1]'.
    """

    def glob(self, pattern: str) -> Iterator[epath.Path]:
        return (self / name for name in glob.glob(pattern, root_dir=self))


def check_folder(folder: epath.Path) -> None:
    """Refuses a folder in which checkpoints could not be read again.

    Raises:
      ValueError: its path has a backslash, or bytes that are not UTF-8, or is taken for a bucket.
    """
    if is_remote(folder):
        return
    place = os.path.abspath(folder)
    try:
        place.encode()
        reason = 'has a backslash' if '\\' in place else ''
    except UnicodeEncodeError:
        reason = 'is not UTF-8'
    if is_remote(epath.Path(place)):
        reason = 'is taken for a bucket by the library of paths'
    if reason:
        raise ValueError(
            f'No checkpoint can be kept in {place!r}, whose path {reason}; give another --workdir.'
        )


@contextlib.contextmanager
def open_folder(folder: epath.Path) -> Iterator[ocp.CheckpointManager]:
    """Within it, a handle on the checkpoints of a run; makes the folder, and ends all saves.

    Raises:
      ValueError: see `check_folder`.
      RuntimeError: a save has failed.
    """
    check_folder(folder)
    with _no_tracebacks():
        manager = ocp.CheckpointManager(
            folder if is_remote(folder) else LiteralPath(os.path.abspath(folder)),
            options=ocp.CheckpointManagerOptions(max_to_keep=KEPT, create=True),
            item_names=('state', 'record'),
        )
        try:
            yield manager
        except BaseException:
            with contextlib.suppress(Exception):  # The error within is the first one.
                manager.close()
            raise
        _save(manager.close)


def save(manager: ocp.CheckpointManager, step: int, state: Any, record: dict) -> None:
    """Starts saving; a JSON-able record of the run so far goes with the state.

    Raises:
      FloatingPointError: the state is not finite; nothing is saved.
      RuntimeError: this save can not begin, or one before has failed.
    """
    if not is_finite(state):
        raise FloatingPointError(
            f'The weights are not finite after step {step}; lower the learning rate or clip the '
            'gradient (clip_norm). Checkpoints from before are kept.'
        )
    sealed = records.seal(record | {'fingerprint': int(fingerprint(state))})
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(sealed))
    _save(lambda: manager.save(step, args=items))


def read_back(manager: ocp.CheckpointManager, step: int, shapes: Any) -> Any:
    """The state of a checkpoint whose save has begun, as it is on the disk.

    Args:
      manager: of the folder.
      step: of the checkpoint.
      shapes: see `restore`.

    Raises:
      RuntimeError: it was not saved, or is not what was saved.
    """
    _save(manager.wait_until_finished)
    try:
        return _read(manager, step, shapes)[0]
    except Exception as error:  # Orbax and its storage raise whatever they meet.
        raise RuntimeError(
            f'The checkpoint of step {step} was written to {manager.directory}, but can not be '
            f'read back ({_reason(error)}). Check the disk; the same command goes on from the '
            'newest checkpoint that can be read.'
        ) from error


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
            state, record = _read(manager, step, shapes)
        except Exception as error:  # Orbax and its storage raise whatever they meet.
            logging.warning(
                'The checkpoint of step %d is damaged (%s); trying the one before.',
                step,
                _reason(error),
            )
            damaged.append(step)
            continue
        if set_aside is not None:
            for bad in damaged:
                set_aside(bad)
        return step, state, record
    if steps:
        raise ValueError(
            f'None of the checkpoints in {manager.directory} (steps {sorted(steps)}) can be read; '
            'nothing was changed. Give another --workdir, or delete the folder to start anew.'
        )
    return None


def _read(manager: ocp.CheckpointManager, step: int, shapes: Any) -> tuple[Any, dict]:
    """The state and the record of a checkpoint; raises where they are not what was saved."""
    saved = manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes), record=ocp.args.JsonRestore()
        ),
    )
    record = records.unseal(saved.record, 'its record is not', 'use another one')
    if record['fingerprint'] != int(fingerprint(saved.state)):
        raise ValueError('its numbers are not those that were saved')
    return saved.state, record


def _save(call: Callable[[], Any]) -> None:
    """A call of Orbax that saves, or waits for saves; raises RuntimeError where they fail."""
    try:
        call()
    except Exception as error:  # Orbax and its storage raise whatever they meet.
        raise RuntimeError(
            f'A checkpoint could not be saved ({_reason(error)}). Those from before are kept: once '
            'there is room, or the disk is mended, the same command goes on.'
        ) from error


@contextlib.contextmanager
def _no_tracebacks() -> Iterator[None]:
    """Within it, Orbax does not log the errors that it raises, each several times with traceback."""

    def is_wanted(line):
        return line.levelno < logging.converter.STANDARD_ERROR or '/orbax/' not in line.pathname

    logger = logging.get_absl_logger()
    logger.addFilter(is_wanted)
    try:
        yield
    finally:
        logger.removeFilter(is_wanted)


def _reason(error: Exception) -> str:
    """The first line of an error."""
    return str(error).strip().splitlines()[0][:200] if str(error) else repr(error)


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
