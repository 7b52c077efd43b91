"""Pseudo-labels on ImageNet with 10 % of the labels.

python -m mpl.train --config=configs/imagenet_10pct_pseudo_label.py --workdir=runs/imagenet_10pct_pseudo_label

Numbers: configs/paper.py (recalled, the least certain of its tables).
Published: no number of this setting was at hand. Not yet run here.
"""

from configs import imagenet, paper


def get_config():
    return paper.pseudo_label(imagenet.data('10pct'), 'imagenet')
