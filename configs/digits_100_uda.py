"""Unsupervised Data Augmentation on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_uda.py --workdir=runs/digits_100_uda
"""

from configs import digits_40_uda


def get_config():
    return digits_40_uda.get_config(labels=100)
