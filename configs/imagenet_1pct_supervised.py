"""Labels only on ImageNet with 1 % of the labels.

    python -m mpl.train --config=configs/imagenet_1pct_supervised.py --workdir=runs/imagenet_1pct_supervised
    python -m mpl.train --config=configs/imagenet_1pct_supervised.py:strong --workdir=runs/imagenet_1pct_supervised_strong

Numbers: those of 10 %, configs/paper.py.
Published: no number of this setting was at hand. Not yet run here.
"""

from configs import imagenet_10pct_supervised


def get_config(labeled: str = 'weak'):
    return imagenet_10pct_supervised.get_config(labeled, '1pct')
