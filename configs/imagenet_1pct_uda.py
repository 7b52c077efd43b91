"""Unsupervised Data Augmentation on ImageNet with 1 % of the labels.

python -m mpl.train --config=configs/imagenet_1pct_uda.py --workdir=runs/imagenet_1pct_uda

Numbers: those of 10 %, configs/released.py, untuned for so few.
Published: nothing that we know of. Not yet run here.
"""

from configs import imagenet, released


def get_config():
    return released.uda(imagenet.data('1pct'), released.IMAGENET)
