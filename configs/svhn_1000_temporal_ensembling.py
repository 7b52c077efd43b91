"""Temporal ensembling on SVHN with 1,000 labels, and `extra` unlabeled.

python -m mpl.train --config=configs/svhn_1000_temporal_ensembling.py --workdir=runs/svhn_1000_temporal_ensembling

Numbers: configs/fixmatch.py.
Published: 92.81 %, as the MPL paper quotes it; we take that for the Pi-model's number of arXiv 1804.09170
(recalled). Not yet run here.
"""

from configs import fixmatch, svhn


def get_config():
    return fixmatch.config(svhn.data(1000), 'temporal_ensembling')
