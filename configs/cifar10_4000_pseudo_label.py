"""Pseudo-labels on CIFAR-10 with 4,000 labels.

    python -m mpl.train --config=configs/cifar10_4000_pseudo_label.py --workdir=runs/cifar10_4000_pseudo_label
    python -m mpl.train --config=configs/cifar10_4000_pseudo_label.py:fixmatch --workdir=runs/cifar10_4000_pseudo_label_fixmatch

Numbers: configs/paper.py (recalled, the least certain of its tables); with `:fixmatch`
configs/fixmatch.py, as in USB.
Published: 83.79 % (MPL paper); 85.10 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import cifar10, fixmatch, paper


def get_config(numbers: str = 'paper'):
    """numbers: whose, 'paper' or 'fixmatch'."""
    return {
        'paper': lambda: paper.pseudo_label(cifar10.data(4000), 'cifar10'),
        'fixmatch': lambda: fixmatch.config(cifar10.data(4000), 'pseudo_label'),
    }[numbers]()
