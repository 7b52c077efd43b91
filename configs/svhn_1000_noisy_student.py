"""Noisy Student on SVHN with 1,000 labels, and `extra` unlabeled: three rounds.

    python -m mpl.train --config=configs/svhn_1000_noisy_student.py --workdir=runs/svhn_1000_noisy_student

Numbers: threshold 0.3, 53,113 images per class, 5 unlabeled images to each labeled one, soft labels at
temperature 1, label smoothing 0.1 and RandAugment's N = 2, M = 5 are those of the released code for
SVHN, whose teacher has all 73,257 labels and whose networks are EfficientNet-B0; network,
optimizer, dropout and steps are those of labels only in configs/paper.py (recalled).
Published: nothing with 1,000 labels; with all of them 97.9 % for the teacher and 98.6 ± 0.1 %
after one round (released code). Not yet run here.
"""

from configs import noisy_student, svhn


def get_config():
    data = svhn.data(1000)
    data['views']['strong'] |= dict(magnitude=5.0)
    return noisy_student.small(data, 'svhn', per_class=53_113, ratio=5)
