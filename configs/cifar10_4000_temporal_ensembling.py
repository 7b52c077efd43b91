"""Temporal ensembling on CIFAR-10 with 4,000 labels.

python -m mpl.train --config=configs/cifar10_4000_temporal_ensembling.py --workdir=runs/cifar10_4000_temporal_ensembling

Numbers: configs/fixmatch.py.
Published: 83.63 %, as the MPL paper quotes it; we take that for the Pi-model's number of arXiv 1804.09170
(recalled). Not yet run here.
"""

from configs import cifar10, fixmatch


def get_config():
    return fixmatch.config(cifar10.data(4000), 'temporal_ensembling')
