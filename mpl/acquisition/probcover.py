"""ProbCover: greedy cover of the pool by balls around the labeled images (arXiv 2205.11320, alg. 1)."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from mpl.acquisition import clusters, interface, k_center
from mpl.acquisition.interface import Acquire
from mpl.acquisition.k_center import Unit

BALLS = 2000  # images for which the purity of balls is computed


def make(delta: float = 0.0, purity: float = 0.95, sample: int = 20_000) -> Acquire:
    """Always the image whose ball has the most images that no ball covers yet.

    Where all are covered, the remaining images are chosen as by `k_center`, the farthest first.
    Ties go to the smaller number.

    delta: radius of a ball, of features of length 1. 0 for the largest at which a share `purity` of
    the balls has images of one k-means cluster only, with as many clusters as classes (section
    3.3 of the paper). sample: the largest number of candidates; of more, a random part is used.
    """
    if delta < 0 or not 0 < purity < 1:
        raise ValueError(
            f'delta is {delta} and purity {purity}; give a radius of 0 or more and a share between '
            '0 and 1.'
        )

    def acquire(features, logits, labeled, candidates, budget, key):
        seed = interface.seed(key)
        candidates = _part(candidates, max(sample, budget), seed)
        numbers = np.flatnonzero(labeled | candidates)
        x = interface.read(Unit(features), numbers).astype(np.float64)
        radius = delta or _radius(
            x, features, numbers, interface.count_classes(logits), purity, seed
        )
        graph = _neighbors(x, radius)
        covered = np.zeros(len(numbers), bool)
        open_ = candidates[numbers]
        gain = np.diff(graph.indptr)
        for place in np.flatnonzero(labeled[numbers]):
            _cover(graph, place, covered, gain)
        chosen = []
        while len(chosen) < budget:
            place = int(np.argmax(np.where(open_, gain, -1)))
            if gain[place] == 0:
                break
            chosen.append(place)
            open_[place] = False
            _cover(graph, place, covered, gain)
        chosen = numbers[chosen]
        if len(chosen) == budget:
            return chosen
        rest, done = candidates.copy(), labeled.copy()
        rest[chosen], done[chosen] = False, True
        farthest = k_center.make(unit=True)
        more = farthest(features, logits, done, rest, budget - len(chosen), key)
        return np.concatenate([chosen, more])

    return acquire


def _part(candidates, most, seed):
    """At most so many of the candidates, bool [N]; drawn at random."""
    numbers = np.flatnonzero(candidates)
    if len(numbers) <= most:
        return candidates
    part = np.zeros(len(candidates), bool)
    part[np.random.RandomState(seed).choice(numbers, most, replace=False)] = True
    return part


def _radius(x, features, numbers, classes, purity, seed):
    """The largest radius at which this share of balls has images of one cluster only."""
    count = min(classes, len(numbers))
    found = clusters.fit(features, numbers, count, len(numbers), seed)
    some = np.random.RandomState(seed).permutation(len(x))[:BALLS]
    foreign = np.full(len(some), np.inf)
    with threadpool_limits(1):
        for k in range(count):
            others, own = x[found != k], found[some] == k
            if own.any() and len(others):
                nearest = NearestNeighbors(n_neighbors=1).fit(others).kneighbors(x[some[own]])[0]
                foreign[own] = nearest[:, 0]
    return _quantile(foreign, purity)


def _quantile(foreign, purity):
    """Just below the radius at which less than this share of the balls is pure.

    foreign: the distance of each center to the nearest image of another cluster, at which its ball
    stops being pure.
    """
    # Rounding may add a little to the product: 0.55 * 100 > 55.
    pure = max(int(np.ceil(purity * len(foreign) - 1e-9)), 1)
    value = np.sort(foreign)[len(foreign) - pure]
    return np.nextafter(value, 0) if np.isfinite(value) else 2.0  # 2: all of the unit sphere.


def _neighbors(x, radius):
    """The images within the radius of each image, itself included, as a sparse matrix [n, n]."""
    with threadpool_limits(1):
        graph = NearestNeighbors(radius=radius).fit(x).radius_neighbors_graph(x)
    return graph.maximum(graph.T)  # Rounding may put one of a pair alone on the edge of a ball.


def _cover(graph, place, covered, gain):
    """Covers the ball of an image, and lowers the gain of all balls by what is covered now."""
    ball = graph.indices[graph.indptr[place] : graph.indptr[place + 1]]
    new = ball[~covered[ball]]
    covered[new] = True
    for one in new:  # Balls are symmetric: one is in the balls of those in its own.
        gain[graph.indices[graph.indptr[one] : graph.indptr[one + 1]]] -= 1
