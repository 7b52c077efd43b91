"""k-means of features by scikit-learn, the same on any number of cores."""

import numpy as np
from sklearn import cluster
from threadpoolctl import threadpool_limits

from mpl.acquisition import interface
from mpl.acquisition.k_center import Unit

EXACT = 50  # clusters up to which all images are used in every iteration, as in TypiClust's code


def fit(
    features: np.ndarray, numbers: np.ndarray, count: int, sample: int, seed: int
) -> np.ndarray:
    """The cluster of each of the images `numbers` [n], int [n], by features of length 1.

    Args:
      features: of the pool.
      numbers: of the images.
      count: of clusters.
      sample: the largest number of images from which the centers are computed; a random part of
        more of them. All images are assigned to the nearest center.
      seed: of the initial centers and of the sample.
    """
    rows = Unit(features)
    fitted = numbers
    if len(numbers) > sample:
        random = np.random.RandomState(seed)
        fitted = np.sort(random.choice(numbers, max(sample, count), replace=False))
    kind = cluster.KMeans if count <= EXACT else cluster.MiniBatchKMeans
    options = {} if count <= EXACT else {'batch_size': 5000}
    with threadpool_limits(1):  # Else sums of threads are added in the order in which they end.
        means = kind(count, n_init=1, random_state=seed, **options)
        means.fit(interface.read(rows, fitted))
        found = [means.predict(rows[chunk]) for _, chunk in interface.chunks(numbers)]
    return np.concatenate(found)
