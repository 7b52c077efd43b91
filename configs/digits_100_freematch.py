"""FreeMatch on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_freematch.py --workdir=runs/digits_100_freematch
"""

from configs import digits_40_freematch


def get_config():
    return digits_40_freematch.get_config(labels=100)
