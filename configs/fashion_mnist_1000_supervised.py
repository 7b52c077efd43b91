"""Labels only on Fashion-MNIST with 1,000 labels.

    python -m mpl.train --config=configs/fashion_mnist_1000_supervised.py --workdir=runs/fashion_mnist_1000_supervised
    python -m mpl.train --config=configs/fashion_mnist_1000_supervised.py:strong --workdir=runs/fashion_mnist_1000_supervised_strong

Numbers: those for CIFAR-10, configs/paper.py (recalled), untuned for this set.
Published: nothing that we know of. Not yet run here.
"""

from configs import fashion_mnist, paper


def get_config(labeled: str = 'weak', labels: int = 1000):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    config = paper.supervised(fashion_mnist.data(labels), 'cifar10')
    config.views.labeled = labeled
    return config
