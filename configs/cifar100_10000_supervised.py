"""Labels only on CIFAR-100 with 10,000 labels.

    python -m mpl.train --config=configs/cifar100_10000_supervised.py --workdir=runs/cifar100_10000_supervised
    python -m mpl.train --config=configs/cifar100_10000_supervised.py:strong --workdir=runs/cifar100_10000_supervised_strong

Numbers: those for CIFAR-10, configs/paper.py, untuned for these labels.
Published, of the narrower WRN-28-2 only: 61.01 % (USB, 3 seeds, the best on test). Not yet run
here.
"""

from configs import cifar100, paper


def get_config(labeled: str = 'weak', labels: int = 10000):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    config = paper.supervised(cifar100.data(labels), 'cifar10')
    config.views.labeled = labeled
    return config
