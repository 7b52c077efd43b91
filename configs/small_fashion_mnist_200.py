"""Fashion-MNIST with 200 labels at the size of a CPU; see configs/small_images.py.

    python -m mpl.train --config=configs/small_fashion_mnist_200.py:exact --workdir=runs/small_fashion_mnist_200

@@RESULT@@
"""

from configs import small_images


def get_config(method: str = 'exact'):
    """method: a key of small_images.METHODS."""
    mean, std = 72.9, 90.0
    return small_images.config('fashion_mnist', 200, method, mean, std, shift=2, cutout=8)
