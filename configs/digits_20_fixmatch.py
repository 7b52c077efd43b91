"""FixMatch on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_fixmatch.py --workdir=runs/digits_20_fixmatch
"""

from configs import digits_40_fixmatch


def get_config():
    return digits_40_fixmatch.get_config(labels=20)
