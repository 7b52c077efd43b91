"""Labels only on CIFAR-100 with 400 labels.

    python -m mpl.train --config=configs/cifar100_400_supervised.py --workdir=runs/cifar100_400_supervised
    python -m mpl.train --config=configs/cifar100_400_supervised.py:strong --workdir=runs/cifar100_400_supervised_strong

Numbers: those for CIFAR-10, configs/paper.py, untuned for these labels.
Published, of the narrower WRN-28-2 only: 10.13 % (USB, 3 seeds, the best on test). Not yet run
here.
"""

from configs import cifar100_10000_supervised


def get_config(labeled: str = 'weak'):
    return cifar100_10000_supervised.get_config(labeled, labels=400)
