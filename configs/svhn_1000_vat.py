"""Virtual adversarial training with entropy minimization on SVHN with 1,000 labels, and `extra` unlabeled.

python -m mpl.train --config=configs/svhn_1000_vat.py --workdir=runs/svhn_1000_vat

Numbers: configs/fixmatch.py.
Published: 95.91 % (USB, 3 seeds, the best on test); 94.65 % as the MPL paper quotes it. Not yet
run here.
"""

from configs import fixmatch, svhn


def get_config():
    return fixmatch.config(svhn.data(1000), 'vat')
