"""Unsupervised Data Augmentation on all of ImageNet and unlabeled pictures of your own.

python -m mpl.train --config=configs/imagenet_full_uda.py:my_pictures --workdir=runs/imagenet_full_uda_my_pictures

The unlabeled pictures: as for configs/imagenet_full_mpl.py.
Numbers: its batches (section 3.3); all others are those of 10 % of the labels in configs/paper.py
(recalled).
Published: 79.0 % top-1, 94.5 % top-5 with JFT (MPL paper, table 3). Not yet run here.
"""

from configs import imagenet, paper


def get_config(extra: str = 'my_pictures'):
    """extra: name of the set of unlabeled pictures."""
    data = imagenet.data(extra=extra, held_out=25_000)
    return paper.uda(data, 'imagenet', labeled=4096, unlabeled=32_768)
