"""Mean teacher on SVHN with 1,000 labels, and `extra` unlabeled.

python -m mpl.train --config=configs/svhn_1000_mean_teacher.py --workdir=runs/svhn_1000_mean_teacher

Numbers: configs/fixmatch.py.
Published: 96.73 % (TorchSSL); 94.35 % as the MPL paper quotes it. USB's learns nothing. Not yet
run here.
"""

from configs import fixmatch, svhn


def get_config():
    return fixmatch.config(svhn.data(1000), 'mean_teacher')
