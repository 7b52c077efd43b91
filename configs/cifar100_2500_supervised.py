"""Labels only on CIFAR-100 with 2,500 labels.

    python -m mpl.train --config=configs/cifar100_2500_supervised.py --workdir=runs/cifar100_2500_supervised
    python -m mpl.train --config=configs/cifar100_2500_supervised.py:strong --workdir=runs/cifar100_2500_supervised_strong

Numbers: those for CIFAR-10, configs/paper.py, untuned for these labels.
Published, of the narrower WRN-28-2 only: 38.75 % (USB, 3 seeds, the best on test). Not yet run
here.
"""

from configs import cifar100_10000_supervised


def get_config(labeled: str = 'weak'):
    return cifar100_10000_supervised.get_config(labeled, labels=2500)
