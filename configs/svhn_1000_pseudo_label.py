"""Pseudo-labels on SVHN with 1,000 labels, and `extra` unlabeled.

    python -m mpl.train --config=configs/svhn_1000_pseudo_label.py --workdir=runs/svhn_1000_pseudo_label
    python -m mpl.train --config=configs/svhn_1000_pseudo_label.py:fixmatch --workdir=runs/svhn_1000_pseudo_label_fixmatch

Numbers: configs/paper.py (recalled, the least certain of its tables); with `:fixmatch`
configs/fixmatch.py, as in USB.
Published: 89.81 % (MPL paper); 90.67 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import fixmatch, paper, svhn


def get_config(numbers: str = 'paper'):
    """numbers: whose, 'paper' or 'fixmatch'."""
    return {
        'paper': lambda: paper.pseudo_label(svhn.data(1000), 'svhn'),
        'fixmatch': lambda: fixmatch.config(svhn.data(1000), 'pseudo_label'),
    }[numbers]()
