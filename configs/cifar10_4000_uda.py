"""Unsupervised Data Augmentation on CIFAR-10 with 4,000 labels.

    python -m mpl.train --config=configs/cifar10_4000_uda.py --workdir=runs/cifar10_4000_uda
    python -m mpl.train --config=configs/cifar10_4000_uda.py:paper --workdir=runs/cifar10_4000_uda_paper

Numbers: those of the teacher in configs/released.py, for a fair comparison with MPL; with `:paper`
those of the baseline in configs/paper.py (recalled).
Published: 94.53 ± 0.18 % (MPL paper, 10 runs); 95.68 ± 0.08 % by UDA's own code and 95.71 ± 0.07 %
by TorchSSL, which train longer on smaller batches (64 labeled, 448 unlabeled). Not yet run here.
"""

from configs import cifar10, paper, released


def get_config(numbers: str = 'released'):
    """numbers: whose, 'released' or 'paper'."""
    return {
        'released': lambda: released.uda(cifar10.data(4000), released.CIFAR10),
        'paper': lambda: paper.uda(cifar10.data(4000, held_out=True), 'cifar10'),
    }[numbers]()
