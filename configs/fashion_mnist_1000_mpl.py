"""Meta Pseudo Labels on Fashion-MNIST with 1,000 labels.

python -m mpl.train --config=configs/fashion_mnist_1000_mpl.py --workdir=runs/fashion_mnist_1000_mpl

Numbers: those for CIFAR-10, configs/released.py, untuned for this set.
Published: nothing with so many labels that we know of. Not yet run here.
"""

from configs import fashion_mnist, released


def get_config():
    return released.mpl(fashion_mnist.data(1000), released.CIFAR10)
