"""CIFAR-100 with few labels; otherwise as configs/cifar10.py.

    python -m mpl.train --config=configs/cifar100.py:mpl,labels=2500 --workdir=runs/cifar100

Network: WRN-28-8 in bfloat16, as in most papers (some have 28-2, and their results cannot be
compared). Mean and standard deviation: those of the training images, recalled. By others' reports a
network of this width takes 3 to 4 times as long as WRN-28-2.
"""

from . import paper, recipes, released
from .recipes import USB, Labels, Recipe, View

MEAN, STD = (129.304, 124.070, 112.434), (68.170, 65.392, 70.418)


def data(labels: Labels) -> dict:
    """Sections of a config.

    labels: total number, equal for each class, sampled by the seed; 'all' is 50,000.
    """
    return dict(
        source=dict(name='tfds', dataset='cifar100'),
        split=dict(labels=recipes.count(labels)),
        views=recipes.views(32, MEAN, STD, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=8, dtype='bfloat16'),
    )


def supervised(labels: Labels = 10000, view: View = 'weak'):
    return paper.supervised(data(labels), 'cifar10', view)


def uda(labels: Labels = 10000):
    return released.uda(data(labels), released.CIFAR10)


def mpl(labels: Labels = 10000):
    return released.mpl(data(labels), released.CIFAR10)


METHODS = {'supervised': supervised, 'uda': uda, 'mpl': mpl}

NARROW = f'{{}} % with the narrower WRN-28-2 {USB}'
TORCHSSL = 'with other hyperparameters {} % (TorchSSL, 3 seeds, the best on test)'
PAPER = 'configs/paper.py, those of CIFAR-10, untuned for these labels'
RELEASED = 'configs/released.py, those of CIFAR-10, untuned for these labels'
RECIPES = [
    Recipe('supervised', PAPER, NARROW.format('61.01')),
    Recipe('supervised,view=strong', PAPER),
    Recipe('supervised,labels=2500', PAPER, NARROW.format('38.75')),
    Recipe('supervised,labels=2500,view=strong', PAPER),
    Recipe('supervised,labels=400', PAPER, NARROW.format('10.13')),
    Recipe('supervised,labels=400,view=strong', PAPER),
    Recipe('uda', RELEASED, TORCHSSL.format('77.51')),
    Recipe('uda,labels=2500', RELEASED, TORCHSSL.format('72.27')),
    Recipe('uda,labels=400', RELEASED, TORCHSSL.format('53.61')),
    Recipe(
        'mpl',
        'configs/released.py, those of CIFAR-10, which kekmodel/MPL-pytorch keeps for CIFAR-100',
        'nothing; Self-MPL, which keeps one network, has 78.32 %',
    ),
    Recipe('mpl,labels=2500', RELEASED),
    Recipe('mpl,labels=400', RELEASED),
]
