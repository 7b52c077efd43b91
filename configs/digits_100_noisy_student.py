"""Noisy Student on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_noisy_student.py --workdir=runs/digits_100_noisy_student
"""

from configs import digits_40_noisy_student


def get_config(rounds: str = '3'):
    """rounds: as in configs/digits_40_noisy_student.py."""
    return digits_40_noisy_student.get_config(rounds, labels=100)
