"""Reduced Meta Pseudo Labels on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_reduced_mpl.py --workdir=runs/digits_100_reduced_mpl
"""

from configs import digits_40_reduced_mpl


def get_config(feedback: str = 'exact'):
    """feedback: as in configs/digits_40_reduced_mpl.py."""
    return digits_40_reduced_mpl.get_config(feedback, labels=100)
