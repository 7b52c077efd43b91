"""Meta Pseudo Labels on CIFAR-100 with 400 labels.

python -m mpl.train --config=configs/cifar100_400_mpl.py --workdir=runs/cifar100_400_mpl

Numbers: those for CIFAR-10, configs/released.py, untuned for these labels.
Published: nothing; UDA has 53.61 %. Not yet run here.
"""

from configs import cifar100, released


def get_config():
    return released.mpl(cifar100.data(400), released.CIFAR10)
