"""Meta Pseudo Labels with EfficientNet-L2 or B6-Wide, 512 pixels: section 4 of the paper.

    python -m mpl.train --config=configs/imagenet_full_efficientnet_mpl.py:l2 --workdir=runs/imagenet_full_efficientnet_mpl_l2
    python -m mpl.train --config=configs/imagenet_full_efficientnet_mpl.py:b6_wide --workdir=runs/imagenet_full_efficientnet_mpl_b6_wide

The unlabeled pictures (the paper has 130 million of JFT): as for configs/imagenet_full_mpl.py;
after a comma their set is named, `:l2,my_pictures`.
Numbers of section 4: 2,048 labeled and 16,384 unlabeled pictures in each of 1,000,000 steps, 20,000
steps of fine-tuning, labels sampled. The paper's others could not be had: optimizer and noise are
those of configs/noisy_student.py, its schedule stretched; the teacher's losses those of ImageNet
with 10 % in configs/paper.py; the rate of fine-tuning that of section 3.3. B6-Wide has 316.6 M
parameters by the paper's width and depth, not its 390 M.
Published: L2 90.2 % top-1, 98.8 % top-5; B6-Wide 90.0 and 98.7 (table 4, with JFT). Not yet run
here.
Time: 11 days (L2) and 10 days (B6-Wide) on 2,048 cores of TPU v3, where each image was cut over 16
cores.
"""

from configs import noisy_student


def get_config(network: str = 'l2'):
    """network: 'l2' or 'b6_wide', and after a comma the name of the set of unlabeled pictures."""
    variant, _, extra = network.partition(',')
    return noisy_student.mpl(variant, extra or 'my_pictures')
