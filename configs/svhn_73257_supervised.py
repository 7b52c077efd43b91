"""All labels of SVHN, without `extra`: what the other recipes try to come near.

    python -m mpl.train --config=configs/svhn_73257_supervised.py --workdir=runs/svhn_73257_supervised
    python -m mpl.train --config=configs/svhn_73257_supervised.py:strong --workdir=runs/svhn_73257_supervised_strong

Numbers: configs/paper.py (recalled, the least certain of its tables). `:strong` has RandAugment.
Published: 97.41 ± 0.16 % (MPL paper, 10 runs); 97.93 % (USB, 3 seeds, the best on test). Not yet
run here.
"""

from configs import svhn_1000_supervised


def get_config(labeled: str = 'weak'):
    return svhn_1000_supervised.get_config(labeled, labels=0)
