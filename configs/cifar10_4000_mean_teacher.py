"""Mean teacher on CIFAR-10 with 4,000 labels.

python -m mpl.train --config=configs/cifar10_4000_mean_teacher.py --workdir=runs/cifar10_4000_mean_teacher

Numbers: configs/fixmatch.py.
Published: 91.90 % (TorchSSL); 84.13 % as the MPL paper quotes it. USB's learns nothing. Not yet
run here.
"""

from configs import cifar10, fixmatch


def get_config():
    return fixmatch.config(cifar10.data(4000), 'mean_teacher')
