"""Order and randomness as functions of (seed, step, purpose), and fetching ahead of use."""

import collections
import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from typing import TypeVar

import jax
import numpy as np

from mpl.data import permutation

Batch = TypeVar('Batch')


def sample(seed: int, purpose: str, step: int, batch: int, indices: np.ndarray) -> np.ndarray:
    """The example indices of a step's batch, int64 [batch]; a function of its arguments alone.

    indices: int [n], the examples to sample from. The stream is a permutation of `indices` for
    every epoch, one after the other, divided into batches; a batch may span two epochs or more. Any
    step takes the same time and no memory beyond that of its batch (see permutation.py).
    `purpose` ('labeled', 'unlabeled') selects one of several streams of a seed.
    """
    indices = np.asarray(indices)
    if not len(indices):
        raise ValueError(f'There are no {purpose} examples to draw batches of {batch} from.')
    drawn = np.arange(step * batch, (step + 1) * batch, dtype=np.int64)
    epochs, places = np.divmod(drawn, len(indices))
    key = np.random.SeedSequence([seed, zlib.crc32(purpose.encode())]).generate_state(1, np.uint64)
    found = permutation.permute(int(key[0]), epochs, places, len(indices))
    return indices[found].astype(np.int64)


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
