"""FixMatch on SVHN with 1,000 labels, and `extra` unlabeled.

python -m mpl.train --config=configs/svhn_1000_fixmatch.py --workdir=runs/svhn_1000_fixmatch

Numbers: configs/fixmatch.py.
Published: 97.72 % (its paper); 98.00 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import fixmatch, svhn


def get_config():
    return fixmatch.config(svhn.data(1000), 'fixmatch')
