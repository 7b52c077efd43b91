"""SoftMatch on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_softmatch.py --workdir=runs/digits_100_softmatch
"""

from configs import digits_40_softmatch


def get_config():
    return digits_40_softmatch.get_config(labels=100)
