"""SoftMatch on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_softmatch.py --workdir=runs/digits_20_softmatch
"""

from configs import digits_40_softmatch


def get_config():
    return digits_40_softmatch.get_config(labels=20)
