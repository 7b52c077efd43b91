"""All labels of CIFAR-10: what the other recipes try to come near.

    python -m mpl.train --config=configs/cifar10_50000_supervised.py --workdir=runs/cifar10_50000_supervised
    python -m mpl.train --config=configs/cifar10_50000_supervised.py:strong --workdir=runs/cifar10_50000_supervised_strong

Numbers: configs/paper.py (recalled, the least certain of its tables). `:strong` has RandAugment.
Published: 94.92 ± 0.17 % (MPL paper, 10 runs); 95.42 % (USB, 3 seeds, the best on test). Not yet
run here.
"""

from configs import cifar10_4000_supervised


def get_config(labeled: str = 'weak'):
    return cifar10_4000_supervised.get_config(labeled, labels=0)
