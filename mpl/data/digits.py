"""The 1,797 handwritten digits of 8x8 pixels that scikit-learn carries."""

import numpy as np
from sklearn import datasets

from mpl.data import source

_TEST_PER_CLASS = 60


def make() -> source.Source:
    """1,197 training and 600 test images, [N, 8, 8, 1] uint8; the names are scikit-learn's numbers.

    Brightness 0..16 becomes round(brightness * 255 / 16). The test images are 60 of
    each class, evenly spaced among the n images of that class in scikit-learn's
    order (places floor(i * n / 60), so about every third), because that order goes
    by writer and both parts should hold all of them.
    """
    digits = datasets.load_digits()
    image = np.rint(digits.images * (255 / 16)).astype(np.uint8)[..., None]
    label = digits.target.astype(np.int32)
    tested = np.zeros(len(label), bool)
    for digit in range(10):
        numbers = np.flatnonzero(label == digit)
        tested[numbers[np.arange(_TEST_PER_CLASS) * len(numbers) // _TEST_PER_CLASS]] = True

    def pool(chosen: np.ndarray) -> source.Pool:
        return source.from_arrays(
            image[chosen], label[chosen], [str(number) for number in np.flatnonzero(chosen)]
        )

    classes = tuple(str(digit) for digit in range(10))
    return source.Source(pool(~tested), None, pool(tested), classes, (8, 8, 1))
