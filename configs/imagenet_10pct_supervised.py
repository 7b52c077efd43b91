"""Labels only on ImageNet with 10 % of the labels.

    python -m mpl.train --config=configs/imagenet_10pct_supervised.py --workdir=runs/imagenet_10pct_supervised
    python -m mpl.train --config=configs/imagenet_10pct_supervised.py:strong --workdir=runs/imagenet_10pct_supervised_strong

Numbers: configs/paper.py (recalled, the least certain of its tables). `:strong` has RandAugment.
Published: no number of this setting was at hand. Not yet run here.
"""

from configs import imagenet, paper


def get_config(labeled: str = 'weak', share: str = '10pct'):
    """labeled: the view of the labeled images, 'weak' or 'strong'. share: as in configs/imagenet.py."""
    config = paper.supervised(imagenet.data(share), 'imagenet')
    config.views.labeled = labeled
    return config
