"""Distillation on the digits: a network learns from a trained one and from 40 labels.

    python -m mpl.train --config=configs/digits_40_mpl.py --workdir=runs/digits
    python -m mpl.train --config=configs/digits_40_distill.py --workdir=runs/digits_40_distill --config.init_from.workdir=runs/digits

Numbers: temperature between the 2 and 8 of the literature; untuned here.
Result: not yet run here.
"""

from configs import digits


def get_config(labels: int = 40):
    config = digits.config(
        labels,
        dict(name='distill', weight=0.9, temperature=4.0, ema_decay=0.99),
        ('student', 'teacher'),
    )
    config.init_from = dict(workdir='', network='student_ema', networks=('teacher',))
    return config
