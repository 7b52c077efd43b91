"""Noisy Student on CIFAR-10 with 4,000 labels: three rounds.

    python -m mpl.train --config=configs/cifar10_4000_noisy_student.py --workdir=runs/cifar10_4000_noisy_student

Numbers: threshold 0.3, soft labels at temperature 1, label smoothing 0.1, as many images per class as
the pool has on average, and one unlabeled image to each labeled one, as its smallest network has on
ImageNet: the released code of Noisy Student, which has no CIFAR-10; network, optimizer, dropout
and steps are those of labels only in configs/paper.py (recalled).
Published: nothing with 4,000 labels; with all of them, Tiny Images and EfficientNet-B0 98.22 ± 0.05 %
(MPL paper, recalled). Not yet run here.
"""

from configs import cifar10, noisy_student


def get_config():
    return noisy_student.small(cifar10.data(4000), 'cifar10', per_class=5000, ratio=1)
