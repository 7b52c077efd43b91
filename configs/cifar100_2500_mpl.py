"""Meta Pseudo Labels on CIFAR-100 with 2,500 labels.

python -m mpl.train --config=configs/cifar100_2500_mpl.py --workdir=runs/cifar100_2500_mpl

Numbers: those for CIFAR-10, configs/released.py, untuned for these labels.
Published: nothing; UDA has 72.27 %. Not yet run here.
"""

from configs import cifar100, released


def get_config():
    return released.mpl(cifar100.data(2500), released.CIFAR10)
