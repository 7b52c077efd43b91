"""Meta Pseudo Labels on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_mpl.py --workdir=runs/digits_100_mpl
"""

from configs import digits_40_mpl


def get_config(feedback: str = 'exact'):
    return digits_40_mpl.get_config(feedback, labels=100)
