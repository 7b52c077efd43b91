"""Checkpoints of a run: saved asynchronously by Orbax, verified by a fingerprint when restored."""

import contextlib
import copy
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
    """A local path that is taken literally by `glob`; epath's `glob` reads it as a pattern.

    Orbax globs below the folder of a checkpoint, and would find nothing in 'lr[0.1]'.
    """

    def glob(self, pattern: str) -> Iterator[epath.Path]:
        return (self / name for name in glob.glob(pattern, root_dir=self))


def check_folder(folder: epath.Path) -> None:
    """Refuses a folder from which checkpoints could not be restored.

    Raises:
      ValueError: the path has a backslash or bytes that are not UTF-8, or is parsed as a bucket.
    """
    if is_remote(folder):
        return
    location = os.path.abspath(folder)
    try:
        location.encode()
        reason = 'has a backslash' if '\\' in location else ''
    except UnicodeEncodeError:
        reason = 'is not UTF-8'
    if is_remote(epath.Path(location)):
        reason = 'is parsed as a bucket by etils.epath'
    if reason:
        raise ValueError(
            f'No checkpoint can be kept in {location!r}, whose path {reason}; give another --workdir.'
        )


@contextlib.contextmanager
def open_folder(folder: epath.Path) -> Iterator[ocp.CheckpointManager]:
    """Context of a manager of the checkpoints of a run; creates the folder, waits for all saves at exit.

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
            with contextlib.suppress(Exception):  # The error of the body is raised.
                manager.close()
            raise
        _save(manager.close)


def save(manager: ocp.CheckpointManager, step: int, state: Any, record: dict) -> None:
    """Starts an asynchronous save of the state and a JSON-serializable record of the run so far.

    Both are saved as they are now, whatever the caller does with them while Orbax writes.

    Raises:
      FloatingPointError: the state is not finite; nothing is saved.
      RuntimeError: the save cannot start, or an earlier one has failed.
    """
    if not is_finite(state):
        raise FloatingPointError(
            f'The weights are not finite after step {step}; lower the learning rate or clip the '
            'gradient (clip_norm). Earlier checkpoints are kept.'
        )
    sealed = copy.deepcopy(records.seal(record | {'fingerprint': int(fingerprint(state))}))
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), record=ocp.args.JsonSave(sealed))
    _save(lambda: manager.save(step, args=items))


def read_back(manager: ocp.CheckpointManager, step: int, shapes: Any) -> Any:
    """The state of a checkpoint as read from the disk; waits for its save.

    Args:
      manager: of the folder.
      step: of the checkpoint.
      shapes: see `restore`.

    Raises:
      RuntimeError: it was not saved, or differs from what was saved.
    """
    _save(manager.wait_until_finished)
    try:
        return _read(manager, step, shapes)[0]
    except Exception as error:  # Orbax and its storage raise errors of many types.
        raise RuntimeError(
            f'The checkpoint of step {step} was written to {manager.directory}, but cannot be '
            f'read back ({_reason(error)}). Check the disk; the same command resumes from '
            'the newest checkpoint that can be read.'
        ) from error


def restore(
    manager: ocp.CheckpointManager, shapes: Any, set_aside: Callable[[int], None] | None = None
) -> tuple[int, Any, dict] | None:
    """The newest intact checkpoint as (step, state, record); None if there are no checkpoints.

    Args:
      manager: of the folder.
      shapes: the state as jax.ShapeDtypeStructs with the target shardings; the number of
        devices may differ from that of the save.
      set_aside: called with the step of each damaged checkpoint once an intact one
        is found, so that the step can be saved again; None to only read.

    Raises:
      ValueError: there are checkpoints and none is intact. Nothing was changed.
    """
    damaged = []
    steps = sorted(manager.all_steps(), reverse=True)
    for step in steps:
        try:
            state, record = _read(manager, step, shapes)
        except Exception as error:  # Orbax and its storage raise errors of many types.
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
            'nothing was changed. Give another --workdir, or delete the folder to start again.'
        )
    return None


def _read(manager: ocp.CheckpointManager, step: int, shapes: Any) -> tuple[Any, dict]:
    """The state and the record of a checkpoint; raises if they differ from what was saved."""
    saved = manager.restore(
        step,
        args=ocp.args.Composite(
            state=ocp.args.StandardRestore(shapes), record=ocp.args.JsonRestore()
        ),
    )
    record = records.unseal(saved.record, 'its record is not', 'use another one')
    if record['fingerprint'] != int(fingerprint(saved.state)):
        raise ValueError('its fingerprint does not match the saved one')
    return saved.state, record


def _save(call: Callable[[], Any]) -> None:
    """Calls Orbax to save or to wait for saves; raises RuntimeError if that fails."""
    try:
        call()
    except Exception as error:  # Orbax and its storage raise errors of many types.
        raise RuntimeError(
            f'A checkpoint could not be saved ({_reason(error)}). Earlier ones are kept. Free '
            'space on the disk or repair it; the same command resumes.'
        ) from error


@contextlib.contextmanager
def _no_tracebacks() -> Iterator[None]:
    """Context in which Orbax does not log the errors that it also raises."""

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
    """A position-dependent checksum of all bits of a state, uint32.

    Sums of integers wrap and commute, so it does not depend on the sharding of the
    state; any single changed bit changes it.
    """
    total = jnp.zeros((), jnp.uint32)
    for index, leaf in enumerate(jax.tree.leaves(state)):
        width = {1: jnp.uint8, 2: jnp.uint16}.get(leaf.dtype.itemsize, jnp.uint32)
        if leaf.dtype == jnp.bool_:
            leaf = leaf.astype(jnp.uint8)
        bits = jax.lax.bitcast_convert_type(leaf, width).astype(jnp.uint32)
        weight = jnp.full(bits.shape, 2 * index + 1, jnp.uint32)
        for axis in range(bits.ndim):
            # Even increments keep every weight odd, so that no bit is lost in the product.
            position = jax.lax.broadcasted_iota(jnp.uint32, bits.shape, axis)
            weight += position * jnp.uint32(2 * (7919 * axis + 104729) & 0xFFFFFFFF)
        total += jnp.sum(bits * weight, dtype=jnp.uint32)
    return total
