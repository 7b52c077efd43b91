"""The 1,797 handwritten digits of 8x8 pixels in scikit-learn."""

import numpy as np
from sklearn import datasets

from mpl.data import source

_TEST_PER_CLASS = 60


def make() -> source.Source:
    """1,197 training and 600 test images, [N, 8, 8, 1] uint8; names are indices in scikit-learn.

    Brightness 0..16 is scaled to round(brightness * 255 / 16). The test images are 60 of each
    class, evenly spaced among the n images of the class in scikit-learn's order (positions
    floor(i * n / 60), about every third). That order is by writer, so both parts have all writers.
    """
    digits = datasets.load_digits()
    image = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    label = digits.target.astype(np.int32)
    tested = np.zeros(len(label), bool)
    for digit in range(10):
        indices = np.flatnonzero(label == digit)
        tested[indices[np.arange(_TEST_PER_CLASS) * len(indices) // _TEST_PER_CLASS]] = True

    def pool(chosen: np.ndarray) -> source.Pool:
        return source.from_arrays(
            image[chosen], label[chosen], [str(index) for index in np.flatnonzero(chosen)]
        )

    classes = tuple(str(digit) for digit in range(10))
    return source.Source(pool(~tested), None, pool(tested), classes, (8, 8, 1))
