"""All labels of ImageNet: the baseline of the recipes with extra pictures.

    python -m mpl.train --config=configs/imagenet_full_supervised.py --workdir=runs/imagenet_full_supervised
    python -m mpl.train --config=configs/imagenet_full_supervised.py:strong --workdir=runs/imagenet_full_supervised_strong

Numbers: those of 10 % in configs/paper.py (recalled, the least certain of its tables).
Published: 76.9 % top-1, 93.3 % top-5 (MPL paper, table 3). Not yet run here.
"""

from configs import imagenet_10pct_supervised


def get_config(labeled: str = 'weak'):
    return imagenet_10pct_supervised.get_config(labeled, '')
