"""Temporal ensembling on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_temporal_ensembling.py --workdir=runs/digits_100_temporal_ensembling
"""

from configs import digits_40_temporal_ensembling


def get_config():
    return digits_40_temporal_ensembling.get_config(labels=100)
