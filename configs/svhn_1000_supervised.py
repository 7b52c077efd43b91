"""Labels only on SVHN with 1,000 labels.

    python -m mpl.train --config=configs/svhn_1000_supervised.py --workdir=runs/svhn_1000_supervised
    python -m mpl.train --config=configs/svhn_1000_supervised.py:strong --workdir=runs/svhn_1000_supervised_strong

Numbers: configs/paper.py (recalled, the least certain of its tables). `:strong` has RandAugment.
Published: 88.17 % (MPL paper); 87.54 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import paper, svhn


def get_config(labeled: str = 'weak', labels: int = 1000):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    config = paper.supervised(svhn.data(labels), 'svhn')
    config.views.labeled = labeled
    return config
