"""CoreSet: always the image farthest from all labeled and chosen ones (arXiv 1708.00489, alg. 1)."""

import jax
import jax.numpy as jnp
import numpy as np

from mpl.acquisition import distances, interface
from mpl.acquisition.interface import Acquire


def make(unit: bool = False, lazy: int = 4096) -> Acquire:
    """Greedy k-center in the Euclidean distance of features; ties go to the smaller number.

    unit: features of length 1, so that angles and not lengths are compared. lazy: how many of the
    farthest images are kept in memory between two passes over the pool. Distances only fall, so
    these images are chosen among exactly, until the best of them is no farther than the first one
    that is not kept; any number gives the same images. Without a labeled image the first one is
    drawn at random.
    """
    if lazy < 1:
        raise ValueError(f'lazy is {lazy}; give a number of images above 0.')

    def acquire(features, logits, labeled, candidates, budget, key):
        rows = Unit(features) if unit else features
        numbers = np.flatnonzero(candidates)
        distance = np.full(len(numbers), np.float32(np.inf))
        open_ = np.ones(len(numbers), bool)  # Not yet chosen.
        chosen = []
        centers = np.flatnonzero(labeled)
        if not len(centers):
            first = int(jax.random.randint(key, (), 0, len(numbers)))
            chosen, centers, open_[first] = [first], numbers[first : first + 1], False
        while True:
            distances.lower(rows, numbers, interface.read(rows, centers), distance)
            if len(chosen) == budget:
                return numbers[chosen]
            kept, bound, edge = _farthest(np.where(open_, distance, -1), lazy)
            picked = _pick(
                interface.read(rows, numbers[kept]), distance[kept], kept, bound, edge,
                budget - len(chosen),
            )  # fmt: skip
            chosen += picked.tolist()
            open_[picked] = False
            centers = numbers[picked]
            if len(chosen) == budget:
                return numbers[chosen]

    return acquire


class Unit:
    """Rows scaled to length 1 when they are read; zero rows stay."""

    def __init__(self, rows: np.ndarray):
        self._rows, self.shape = rows, rows.shape

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        found = np.asarray(self._rows[numbers], np.float64)
        length = np.sqrt(np.einsum('nd,nd->n', found, found))
        return (found / np.where(length > 0, length, 1)[:, None]).astype(np.float32)


def _farthest(distance, count):
    """Places of the `count` largest distances, ascending; the next one's distance and its place.

    Chosen images have distance -1 and are not kept. Ties go to the smaller place.
    """
    left = np.count_nonzero(distance >= 0)
    if left <= count:
        return np.flatnonzero(distance >= 0), np.float32(-1), len(distance)
    value = np.partition(distance, len(distance) - count)[len(distance) - count]
    above = np.flatnonzero(distance > value)
    tied = np.flatnonzero(distance == value)
    inside, outside = tied[: count - len(above)], tied[count - len(above) :]
    kept = np.sort(np.concatenate([above, inside]))
    if len(outside):
        return kept, value, int(outside[0])
    rest = distance.copy()
    rest[kept] = -1
    edge = int(np.argmax(rest))
    return kept, rest[edge], edge


def _pick(x, distance, place, bound, edge, most):
    """Places chosen among the kept ones, in order, until one that is not kept may be farther."""
    size = 1 << max(0, int(np.ceil(np.log2(len(place)))))  # Few shapes to compile.
    pad = size - len(place)
    picked, count = _loop(
        np.pad(x, ((0, pad), (0, 0))).T,
        np.pad(distance, (0, pad), constant_values=-1),
        np.pad(place, (0, pad), constant_values=edge),
        bound, edge, min(most, len(place)),
    )  # fmt: skip
    return place[np.asarray(picked)[: int(count)]]


@jax.jit
def _loop(x, distance, place, bound, edge, most):
    """Positions int32 [n] chosen among x [D, n], the first `count` are valid."""

    def goes_on(state):
        count, distance, _ = state
        best = jnp.argmax(distance)  # The first of equal ones: places are ascending.
        ahead = (distance[best] > bound) | ((distance[best] == bound) & (place[best] < edge))
        return (count < most) & ahead

    def pick(state):
        count, distance, picked = state
        best = jnp.argmax(distance)
        center = jax.lax.dynamic_slice_in_dim(x, best, 1, 1)
        nearer = jnp.minimum(distance, distances.squared(x, center)[0])
        lowered = jnp.where(distance < 0, distance, nearer).at[best].set(-1)
        return count + 1, lowered, picked.at[count].set(best)

    start = 0, distance, jnp.zeros(x.shape[1], int)
    count, _, picked = jax.lax.while_loop(goes_on, pick, start)
    return picked, count
