"""FixMatch on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_fixmatch.py --workdir=runs/digits_100_fixmatch
"""

from configs import digits_40_fixmatch


def get_config():
    return digits_40_fixmatch.get_config(labels=100)
