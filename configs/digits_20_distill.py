"""Distillation on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_distill.py:cached --workdir=runs/digits_20_distill
"""

from configs import digits_40_distill


def get_config(answers: str = 'live'):
    """answers: as in configs/digits_40_distill.py."""
    return digits_40_distill.get_config(answers, labels=20)
