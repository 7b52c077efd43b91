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

# A permutation of 13 million indices takes a second or two, so the last permutations are cached.
# Small ones have a cache of their own: a batch can span many epochs of a small set, which would
# evict the large ones at every step.
_LARGE = 1 << 16


def sample(seed: int, purpose: str, step: int, batch: int, indices: np.ndarray) -> np.ndarray:
    """The example indices of a step's batch, int64 [batch]; a function of its arguments alone.

    indices: int [n], the examples to sample from. The stream is a permutation of `indices` for
    every epoch, one after the other, divided into batches; a batch may span two epochs or more.
    `purpose` ('labeled', 'unlabeled') selects one of several streams of a seed.
    """
    indices = np.asarray(indices)
    if not len(indices):
        raise ValueError(f'There are no {purpose} examples to draw batches of {batch} from.')
    start = step * batch
    epochs = range(start // len(indices), (start + batch - 1) // len(indices) + 1)
    permute = _large if len(indices) > _LARGE else _small
    places = []
    for epoch in epochs:
        first = epoch * len(indices)
        permutation = permute(seed, purpose, epoch, len(indices))
        places.append(permutation[max(start - first, 0) : start + batch - first])
    return indices[np.concatenate(places)].astype(np.int64)


PURPOSES = ('init', 'labeled', 'unlabeled', 'update', 'mix', 'acquire')


def derive(root: jax.Array, step: jax.Array | int, purpose: str) -> jax.Array:
    """The key of a step for one of PURPOSES, from the root key of a run."""
    return jax.random.fold_in(jax.random.fold_in(root, step), PURPOSES.index(purpose))


def bits(seed: int, purpose: str, steps: Iterable[int], batch: int, count: int) -> np.ndarray:
    """Random bits for every row of the batches of some steps, uint64 [steps, batch, count].

    A function of the arguments alone; raw bits, whose stream numpy guarantees to keep.
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
    """fetch(step) for every step, in order, in threads up to `depth` steps ahead.

    An error of any running fetch is raised by the next `next`, without waiting for the steps
    before it. When the iterator ends or is closed no new fetch begins, and the threads end after
    their current fetch.
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
    places.flags.writeable = False  # shared by all callers
    return places


_small = functools.lru_cache(maxsize=256)(_permutation)
_large = functools.lru_cache(maxsize=6)(_permutation)  # labeled and unlabeled, at an epoch's end
