"""Order and randomness as functions of (seed, step, purpose), and fetching ahead of use."""

import collections
import functools
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

import jax
import numpy as np

Batch = TypeVar('Batch')

# A permutation of 13 million numbers takes a second or two to draw, so the last ones are
# kept. Small ones apart: a batch can span many epochs of a small set, and these would
# push the large ones out at every step.
_LARGE = 1 << 16


def sample(seed: int, purpose: str, step: int, batch: int, numbers: np.ndarray) -> np.ndarray:
    """The example numbers of a step's batch, int64 [batch]; a function of its arguments alone.

    numbers: int [n], the examples to draw from. The stream is a permutation of
    `numbers` for every epoch, one after the other, cut into batches; a batch may
    span two epochs or more. `purpose` ('labeled', 'unlabeled') tells apart streams
    of one seed.
    """
    numbers = np.asarray(numbers)
    if not len(numbers):
        raise ValueError(f'There are no {purpose} examples to draw batches of {batch} from.')
    start = step * batch
    epochs = range(start // len(numbers), (start + batch - 1) // len(numbers) + 1)
    draw = _large if len(numbers) > _LARGE else _small
    drawn = []
    for epoch in epochs:
        first = epoch * len(numbers)
        places = draw(seed, purpose, epoch, len(numbers))
        drawn.append(places[max(start - first, 0) : start + batch - first])
    return numbers[np.concatenate(drawn)].astype(np.int64)


PURPOSES = ('init', 'labeled', 'unlabeled', 'update', 'mix')


def derive(root: jax.Array, step: jax.Array | int, purpose: str) -> jax.Array:
    """The key of a step for one of PURPOSES, from the root key of a run."""
    return jax.random.fold_in(jax.random.fold_in(root, step), PURPOSES.index(purpose))


def bits(seed: int, purpose: str, steps: Iterable[int], batch: int, count: int) -> np.ndarray:
    """Random bits for every row of the batches of some steps, uint64 [steps, batch, count].

    A function of the arguments alone; raw bits, whose stream numpy promises to keep.
    """
    return np.stack(
        [
            np.random.PCG64([seed, zlib.crc32(purpose.encode()), step, 1]).random_raw(
                (batch, count)
            )
            for step in steps
        ]
    )


def prefetch(
    fetch: Callable[[int], Batch], steps: Iterable[int], depth: int = 2, threads: int = 2
) -> Iterator[Batch]:
    """fetch(step) for every step, in order, made in threads up to `depth` steps ahead.

    An error of any fetch under way is raised by the next `next`, without waiting
    for the steps before it. When the iterator ends or is closed no new fetch begins,
    and the threads end with the fetches they are at.
    """
    if depth < 1 or threads < 1:
        raise ValueError(f'depth is {depth} and threads {threads}: both must be at least 1.')
    return _prefetch(fetch, iter(steps), depth, threads)


def _prefetch(
    fetch: Callable[[int], Batch], steps: Iterator[int], depth: int, threads: int
) -> Iterator[Batch]:
    executor = futures.ThreadPoolExecutor(threads, thread_name_prefix='prefetch')
    try:
        ahead = collections.deque(
            executor.submit(fetch, step) for step in itertools.islice(steps, depth)
        )
        while ahead:
            while True:
                running = [future for future in ahead if not future.done()]
                for future in ahead:
                    if future.done() and future.exception() is not None:
                        future.result()
                if ahead[0].done():
                    break
                futures.wait(running, return_when=futures.FIRST_COMPLETED)
            result = ahead.popleft().result()
            for step in itertools.islice(steps, 1):
                ahead.append(executor.submit(fetch, step))
            yield result
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _permutation(seed: int, purpose: str, epoch: int, size: int) -> np.ndarray:
    bits = np.random.PCG64([seed, zlib.crc32(purpose.encode()), epoch])
    places = np.arange(size, dtype=np.int32 if size < 1 << 31 else np.int64)
    np.random.Generator(bits).shuffle(places)
    places.flags.writeable = False  # shared by all who ask
    return places


_small = functools.lru_cache(maxsize=256)(_permutation)
_large = functools.lru_cache(maxsize=6)(_permutation)  # labeled and unlabeled, at an epoch's border
