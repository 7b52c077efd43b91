"""FreeMatch on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_freematch.py --workdir=runs/digits_20_freematch
"""

from configs import digits_40_freematch


def get_config():
    return digits_40_freematch.get_config(labels=20)
