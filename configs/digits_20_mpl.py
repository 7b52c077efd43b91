"""Meta Pseudo Labels on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_mpl.py --workdir=runs/digits_20_mpl
"""

from configs import digits_40_mpl


def get_config(feedback: str = 'exact'):
    return digits_40_mpl.get_config(feedback, labels=20)
