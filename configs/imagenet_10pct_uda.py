"""Unsupervised Data Augmentation on ImageNet with 10 % of the labels.

    python -m mpl.train --config=configs/imagenet_10pct_uda.py --workdir=runs/imagenet_10pct_uda
    python -m mpl.train --config=configs/imagenet_10pct_uda.py:paper --workdir=runs/imagenet_10pct_uda_paper

Numbers: those of MPL's teacher in configs/released.py; with `:paper` those of the baseline in
configs/paper.py (recalled).
Published: 68.07 % top-1, 88.19 % top-5 (MPL paper); 68.78 % (README of UDA). Not yet run here.
"""

from configs import imagenet, paper, released


def get_config(numbers: str = 'released'):
    """numbers: whose, 'released' or 'paper'."""
    data = imagenet.data('10pct')
    return {
        'released': lambda: released.uda(data, released.IMAGENET),
        'paper': lambda: paper.uda(data, 'imagenet'),
    }[numbers]()
