"""Fashion-MNIST with few labels; otherwise as configs/cifar10.py.

    python -m mpl.train --config=configs/fashion_mnist.py:mpl,labels=1000 --workdir=runs/fashion_mnist

Gray images of 28 pixels. Network: WRN-28-2 in bfloat16. Mean and standard deviation: those of the
training images.
"""

from . import paper, recipes, released
from .recipes import Labels, Recipe, View


def data(labels: Labels) -> dict:
    """Sections of a config.

    labels: total number, equal for each class, sampled by the seed; 'all' is 60,000.
    """
    return dict(
        source=dict(name='tfds', dataset='fashion_mnist'),
        split=dict(labels=recipes.count(labels)),
        views=recipes.views(28, 72.94, 90.02, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
    )


def supervised(labels: Labels = 1000, view: View = 'weak'):
    return paper.supervised(data(labels), 'cifar10', view)


def uda(labels: Labels = 1000):
    return released.uda(data(labels), released.CIFAR10)


def mpl(labels: Labels = 1000):
    return released.mpl(data(labels), released.CIFAR10)


METHODS = {'supervised': supervised, 'uda': uda, 'mpl': mpl}

PAPER = 'configs/paper.py, those of CIFAR-10 (recalled), untuned for this set'
RELEASED = 'configs/released.py, those of CIFAR-10, untuned for this set'
RECIPES = [
    Recipe('supervised', PAPER),
    Recipe('supervised,view=strong', PAPER),
    Recipe('uda', RELEASED),
    Recipe('mpl', RELEASED),
]
