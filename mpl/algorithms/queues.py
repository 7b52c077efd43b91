"""Queues of keys of earlier batches, the negatives of MoCo (arXiv 1911.05722, section 3.2)."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpl.algorithms import contrast
from mpl.algorithms.interface import Batch, Sizes


class Queue(NamedTuple):
    """The last keys, of length 1, and the images that they are of; the oldest is at `place`."""

    keys: jax.Array  # float32 [K, D]
    index: jax.Array  # int32 [K], in the source; -1 for the random keys of the first steps
    place: jax.Array  # int32, where the next batch is written


def make_memory(
    size: int, count: int = 1
) -> Callable[[jax.Array, Batch, int, Sizes], tuple[Queue, ...]]:
    """The `memory` of pretraining.from_loss: `count` queues of `size` random keys.

    Raises:
      ValueError: (by the result) a batch does not fill a whole number of parts of the queue, or the
        queue has room for more keys than there are images.
    """

    def memory(key, batch, width, sizes):
        images = len(batch['unlabeled']['index'])
        if size < 1 or size % images:
            raise ValueError(
                f'algorithm.queue is {size}; give a multiple of batch.unlabeled, which is {images}.'
            )
        if size > sizes.unlabeled:
            raise ValueError(
                f'algorithm.queue is {size}, more than the {sizes.unlabeled} unlabeled images; give at most '
                'that many.'
            )
        keys = contrast.unit(jax.random.normal(key, (count, size, width)))
        nobody = jnp.full(size, -1, jnp.int32)
        return tuple(Queue(part, nobody, jnp.zeros((), jnp.int32)) for part in keys)

    return memory


def push(queue: Queue, keys: jax.Array, index: jax.Array) -> Queue:
    """The queue with keys [B, D] of the images `index` [B] instead of its oldest B; B divides its size."""
    start = (queue.place, jnp.zeros_like(queue.place))
    return Queue(
        jax.lax.dynamic_update_slice(queue.keys, contrast.unit(keys), start),
        jax.lax.dynamic_update_slice(queue.index, index, start[:1]),
        (queue.place + len(keys)) % len(queue.keys),
    )


def among_earlier(
    q: jax.Array, k: jax.Array, index: jax.Array, queue: Queue, temperature: float
) -> tuple[jax.Array, jax.Array]:
    """`contrast.among_keys` with the queue's keys of other images as negatives.

    A queue that is not much shorter than the data set still has keys of images that are drawn again. They are no
    negatives of theirs. index: int32 [B], of the queries' images in the source.
    """
    own = index[:, None] == queue.index
    return contrast.among_keys(q, k, queue.keys, temperature, own)


def both_directions(
    q: Sequence[jax.Array],
    k: Sequence[jax.Array],
    index: jax.Array,
    queues: Sequence[Queue],
    temperature: float,
) -> tuple[jax.Array, tuple[Queue, ...], jax.Array]:
    """The sum of InfoNCE of the queries of each of two views with the keys of the other view.

    Queue n has the keys of view n. All losses are of the queues before the step. index: see `among_earlier`.

    Returns:
      The loss, the queues with the new keys, and the share of queries of view 0 that find their
      key.
    """
    one, accuracy = among_earlier(q[0], k[1], index, queues[1], temperature)
    other, _ = among_earlier(q[1], k[0], index, queues[0], temperature)
    pushed = tuple(push(queue, keys, index) for queue, keys in zip(queues, k))
    return one + other, pushed, accuracy
