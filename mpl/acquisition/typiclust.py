"""TypiClust: the most typical image of clusters without a label (arXiv 2202.02794, alg. 1)."""

import numpy as np
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from mpl.acquisition import clusters, interface
from mpl.acquisition.interface import Acquire
from mpl.acquisition.k_center import Unit


def make(most: int = 500, neighbors: int = 20, smallest: int = 6, sample: int = 100_000) -> Acquire:
    """Features of length 1 are clustered, into as many clusters as there are labels in the end.

    Always from the cluster with the fewest labeled and chosen images, the largest of these, the
    image with the smallest mean distance to its nearest neighbors in the cluster. It does not need
    logits or labels, so it can choose the first images of all.

    most: of the clusters. neighbors: of an image, at most half of its cluster. smallest: smaller
    clusters come last. sample: images from which the clusters are computed, see `clusters.fit`.
    """
    for name, value in dict(
        most=most, neighbors=neighbors, smallest=smallest, sample=sample
    ).items():
        if value < 1:
            raise ValueError(f'{name} is {value}; give a number above 0.')

    def acquire(features, logits, labeled, candidates, budget, key):
        numbers = np.flatnonzero(labeled | candidates)
        count = min(np.count_nonzero(labeled) + budget, most, len(numbers))
        found = clusters.fit(features, numbers, count, sample, interface.seed(key))
        sizes = np.bincount(found, minlength=count)
        has = np.bincount(found, labeled[numbers], count)
        waiting = {}  # Candidates of each cluster, typical ones first.
        chosen = []
        left = np.bincount(found, candidates[numbers], count)
        for _ in range(budget):
            order = np.lexsort((-sizes, has, sizes < smallest, left == 0))
            k = order[0]
            if k not in waiting:
                members = numbers[found == k]
                typical = members[np.argsort(_spread(features, members, neighbors), kind='stable')]
                waiting[k] = iter(typical[candidates[typical]])
            chosen.append(next(waiting[k]))
            has[k] += 1
            left[k] -= 1
        return np.array(chosen)

    return acquire


def _spread(features, members, neighbors):
    """The mean distance of each image to its nearest neighbors among the others, [n]."""
    count = min(neighbors, len(members) // 2)
    if not count:
        return np.zeros(len(members))
    x = interface.read(Unit(features), members).astype(np.float64)
    with threadpool_limits(1):
        distance, _ = NearestNeighbors(n_neighbors=count).fit(x).kneighbors()
    return distance.mean(-1)
