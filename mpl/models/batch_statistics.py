"""The batch statistics of a step's images alone, from running statistics."""

from collections.abc import Callable
from typing import Any

import flax
import jax
import jax.numpy as jnp

PyTree = Any
RUNNING = ('mean', 'var')  # of flax's batch norm; a model may keep other, fixed values beside them


def of_step(passes: Callable[[PyTree], tuple[PyTree, Any]], before: PyTree) -> tuple:
    """The result of training-mode passes, and the batch statistics of their images.

    A pass changes running statistics to kept * before + (1 - kept) * those of its images. `kept` is the
    derivative of the result by `before`, a constant that takes no computation, over all passes of the
    step. So the statistics of the images are known without the initial values (mean 0, variance 1),
    which are of no images. With several passes they are a weighted mean, the last pass with the most.

    Args:
      passes: running statistics -> (those after the passes, anything else).
      before: running statistics.

    Returns:
      What `passes` returns for `before`, and the statistics of the images; where nothing is updated,
      such as fixed filters and norms in evaluation mode, `before`.
    """
    flat = flax.traverse_util.flatten_dict(before, keep_empty_nodes=True)
    running = {path: leaf for path, leaf in flat.items() if path[-1] in RUNNING}

    def passed(running):
        after, rest = passes(flax.traverse_util.unflatten_dict(flat | running))
        changed = flax.traverse_util.flatten_dict(after)
        return {path: changed[path] for path in running}, (after, rest)

    ones = jax.tree.map(jnp.ones_like, running)
    after, kept, result = jax.jvp(passed, (running,), (ones,), has_aux=True)

    found = {}
    for path, old in running.items():
        share = jnp.where(kept[path] < 1, 1 - kept[path], 1)
        found[path] = old + (after[path] - old) / share
        if path[-1] == 'var':  # Rounding may leave less, where the running one is much larger.
            found[path] = jnp.maximum(found[path], 0)
    return result, flax.traverse_util.unflatten_dict(flat | found)
