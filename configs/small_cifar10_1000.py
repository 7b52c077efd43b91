"""CIFAR-10 with 1,000 labels at the size of a CPU; see configs/small_images.py.

    python -m mpl.train --config=configs/small_cifar10_1000.py:exact --workdir=runs/small_cifar10_1000

@@RESULT@@
"""

from configs import small_images


def get_config(method: str = 'exact'):
    """method: a key of small_images.METHODS."""
    mean, std = (125.3, 122.95, 113.87), (63.0, 62.09, 66.7)
    return small_images.config('cifar10', 1000, method, mean, std, shift=4, cutout=16)
