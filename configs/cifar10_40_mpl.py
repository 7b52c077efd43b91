"""Meta Pseudo Labels on CIFAR-10 with 40 labels.

python -m mpl.train --config=configs/cifar10_40_mpl.py --workdir=runs/cifar10_40_mpl

Numbers: those of 4,000 labels, configs/released.py, untuned for so few.
Published: nothing; UDA has 91.99 % (USB) and 89.38 % (TorchSSL), 3 seeds, the best on test. Not yet
run here.
"""

from configs import cifar10, released


def get_config():
    return released.mpl(cifar10.data(40), released.CIFAR10)
