"""Labels only on CIFAR-10 with 4,000 labels: the baseline of every other number.

    python -m mpl.train --config=configs/cifar10_4000_supervised.py --workdir=runs/cifar10_4000_supervised
    python -m mpl.train --config=configs/cifar10_4000_supervised.py:strong --workdir=runs/cifar10_4000_supervised_strong

Numbers: configs/paper.py (recalled, the least certain of its tables). `:strong` has RandAugment.
Published: 82.14 ± 0.25 %, with RandAugment 85.53 ± 0.25 % (MPL paper, 10 runs); 84.49 % (USB, 3
seeds, the best on test). Not yet run here.
"""

from configs import cifar10, paper


def get_config(labeled: str = 'weak', labels: int = 4000):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    config = paper.supervised(cifar10.data(labels), 'cifar10')
    config.views.labeled = labeled
    return config
