"""FixMatch on CIFAR-10 with 4,000 labels.

python -m mpl.train --config=configs/cifar10_4000_fixmatch.py --workdir=runs/cifar10_4000_fixmatch

Numbers: configs/fixmatch.py.
Published: 95.74 % (its paper); 95.71 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import cifar10, fixmatch


def get_config():
    return fixmatch.config(cifar10.data(4000), 'fixmatch')
