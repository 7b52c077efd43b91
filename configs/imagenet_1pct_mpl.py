"""Meta Pseudo Labels on ImageNet with 1 % of the labels.

python -m mpl.train --config=configs/imagenet_1pct_mpl.py --workdir=runs/imagenet_1pct_mpl

Numbers: those of 10 %, configs/released.py, untuned for so few.
Published: nothing; SimMatchV2 has 71.9 %. Not yet run here.
"""

from configs import imagenet, released


def get_config():
    return released.mpl(imagenet.data('1pct'), released.IMAGENET)
