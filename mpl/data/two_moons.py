"""Two moons: two interleaving half circles of points in the plane."""

import numpy as np
from sklearn import datasets

from mpl.data import source


def make(
    examples: int = 2000, noise: float = 0.1, seed: int = 0, test_examples: int = 1000
) -> source.Source:
    """Points as images of one pixel with two channels, float32 [N, 1, 1, 2].

    Channel 0 is the horizontal axis (about -1 to 2), channel 1 the vertical one
    (about -0.5 to 1). Class 0 is the upper moon, a half circle of radius 1 around
    (0, 0); class 1 the lower one, around (1, 0.5). Gaussian noise of standard
    deviation `noise` is added to both axes. Half of the points lie on each moon,
    in a shuffled order. `test_examples` does not change the training points.
    """
    for key, count in (('examples', examples), ('test_examples', test_examples)):
        if not 2 <= count <= 10**8 or count % 2:
            raise ValueError(
                f'{key} is {count}: give an even number from 2 to 100,000,000, half of them for '
                'each moon.'
            )
    if noise < 0:
        raise ValueError(f'noise is {noise}: give a standard deviation from 0 up.')
    if seed < 0:
        raise ValueError(f'seed is {seed}: give a number from 0 up.')
    state = np.random.RandomState(seed)  # samples training points first, then test points

    def pool(count: int) -> source.Pool:
        point, label = datasets.make_moons(count, noise=noise, random_state=state)
        return source.from_arrays(point.astype(np.float32)[:, None, None, :], label)

    return source.Source(pool(examples), None, pool(test_examples), ('upper', 'lower'), (1, 1, 2))
