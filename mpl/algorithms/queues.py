"""Queues of keys of earlier batches, the negatives of MoCo (arXiv 1911.05722, section 3.2)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpl.algorithms import contrast
from mpl.algorithms.interface import Batch, Sizes


class Queue(NamedTuple):
    """The last keys, of length 1; the oldest is at `place`."""

    keys: jax.Array  # float32 [K, D]
    place: jax.Array  # int32, where the next batch is written


def make_memory(
    size: int, count: int = 1
) -> Callable[[jax.Array, Batch, int, Sizes], tuple[Queue, ...]]:
    """The `memory` of pretraining.from_loss: `count` queues of `size` random keys.

    Raises:
      ValueError: (by the result) a batch does not fill a whole number of parts of the queue, or the
        queue has room for more than all images, which then have keys of their own among their
        negatives.
    """

    def memory(key, batch, width, sizes):
        images = len(batch['unlabeled']['index'])
        if size < 1 or size % images:
            raise ValueError(
                f'algorithm.queue is {size}; give a multiple of batch.unlabeled, which is {images}.'
            )
        if size > sizes.unlabeled:
            raise ValueError(
                f'algorithm.queue is {size}, more than the {sizes.unlabeled} unlabeled images, so an image '
                'would be among its own negatives; give at most that many.'
            )
        keys = contrast.unit(jax.random.normal(key, (count, size, width)))
        return tuple(Queue(part, jnp.zeros((), jnp.int32)) for part in keys)

    return memory


def push(queue: Queue, keys: jax.Array) -> Queue:
    """The queue with keys [B, D] instead of its oldest B; B divides its size."""
    start = (queue.place, jnp.zeros_like(queue.place))
    updated = jax.lax.dynamic_update_slice(queue.keys, contrast.unit(keys), start)
    return Queue(updated, (queue.place + len(keys)) % len(queue.keys))


def both_directions(
    q: Sequence[jax.Array], k: Sequence[jax.Array], queues: Sequence[Queue], temperature: float
) -> tuple[jax.Array, tuple[Queue, ...], jax.Array]:
    """The sum of InfoNCE of the queries of each of two views with the keys of the other view.

    Queue n has the keys of view n. All losses are of the queues before the step.

    Returns:
      The loss, the queues with the new keys, and the share of queries of view 0 that find their
      key.
    """
    one, accuracy = contrast.among_keys(q[0], k[1], queues[1].keys, temperature)
    other, _ = contrast.among_keys(q[1], k[0], queues[0].keys, temperature)
    return one + other, tuple(map(push, queues, k)), accuracy
