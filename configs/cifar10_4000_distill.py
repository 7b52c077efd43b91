"""Distillation of a UDA teacher, on CIFAR-10 with 4,000 labels.

python -m mpl.train --config=configs/cifar10_4000_distill.py --workdir=runs/cifar10_4000_distill

Numbers: configs/taught.py. Its teacher is configs/cifar10_4000_uda.py, trained first.
Published: nothing. Not yet run here.
"""

from configs import cifar10, released, taught


def get_config():
    return taught.distill(cifar10.data(4000), released.CIFAR10)
