"""Labels only on CIFAR-10 with 250 labels.

    python -m mpl.train --config=configs/cifar10_250_supervised.py --workdir=runs/cifar10_250_supervised
    python -m mpl.train --config=configs/cifar10_250_supervised.py:strong --workdir=runs/cifar10_250_supervised_strong

Numbers: those of 4,000 labels, configs/paper.py.
Published, with other numbers: 44.04 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import cifar10_4000_supervised


def get_config(labeled: str = 'weak'):
    return cifar10_4000_supervised.get_config(labeled, labels=250)
