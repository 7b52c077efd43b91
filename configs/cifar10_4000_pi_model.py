"""The Pi-model on CIFAR-10 with 4,000 labels.

python -m mpl.train --config=configs/cifar10_4000_pi_model.py --workdir=runs/cifar10_4000_pi_model

Numbers: configs/fixmatch.py.
Published: 87.20 % (USB, 3 seeds, the best on test). Not yet run here.
"""

from configs import cifar10, fixmatch


def get_config():
    return fixmatch.config(cifar10.data(4000), 'pi_model')
