"""Mean teacher on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_mean_teacher.py --workdir=runs/digits_100_mean_teacher
"""

from configs import digits_40_mean_teacher


def get_config():
    return digits_40_mean_teacher.get_config(labels=100)
