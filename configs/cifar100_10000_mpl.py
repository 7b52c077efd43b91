"""Meta Pseudo Labels on CIFAR-100 with 10,000 labels.

python -m mpl.train --config=configs/cifar100_10000_mpl.py --workdir=runs/cifar100_10000_mpl

Numbers: those for CIFAR-10, configs/released.py, which kekmodel/MPL-pytorch keeps for its
CIFAR-100.
Published: 78.32 % by Self-MPL, which keeps one network; MPL itself has published nothing. Not yet
run here.
"""

from configs import cifar100, released


def get_config():
    return released.mpl(cifar100.data(10000), released.CIFAR10)
