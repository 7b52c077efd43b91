"""Labels only on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_supervised.py --workdir=runs/digits_20_supervised
"""

from configs import digits_40_supervised


def get_config(labeled: str = 'weak'):
    return digits_40_supervised.get_config(labeled, labels=20)
