"""All labels of ImageNet with EfficientNet-B7, L2 or B6-Wide: the baseline of the large networks.

    python -m mpl.train --config=configs/imagenet_full_efficientnet_supervised.py:b7 --workdir=runs/imagenet_full_efficientnet_supervised_b7
    python -m mpl.train --config=configs/imagenet_full_efficientnet_supervised.py:l2 --workdir=runs/imagenet_full_efficientnet_supervised_l2
    python -m mpl.train --config=configs/imagenet_full_efficientnet_supervised.py:b6_wide --workdir=runs/imagenet_full_efficientnet_supervised_b6_wide

Numbers: configs/noisy_student.py, at 600, 475 and 512 pixels.
Published: B7 85.0 % top-1, 97.2 % top-5; L2 85.5 and 97.5 (MPL paper, table 4); B6-Wide nothing.
Not yet run here.
"""

from configs import noisy_student


def get_config(variant: str = 'b7'):
    """variant: 'b7', 'l2' or 'b6_wide'."""
    return noisy_student.supervised(variant)
