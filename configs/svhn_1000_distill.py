"""Distillation of a UDA teacher, on SVHN with 1,000 labels, and `extra` unlabeled.

python -m mpl.train --config=configs/svhn_1000_distill.py --workdir=runs/svhn_1000_distill

Numbers: configs/taught.py. Its teacher is configs/svhn_1000_uda.py, trained first.
Published: nothing. Not yet run here.
"""

from configs import released, svhn, taught


def get_config():
    return taught.distill(svhn.data(1000), released.CIFAR10)
