"""STL-10 with few labels; otherwise as configs/cifar10.py.

    python -m mpl.train --config=configs/stl10.py:mpl,labels=1000 --workdir=runs/stl10

5,000 labeled and 100,000 unlabeled images of 96 pixels; some unlabeled ones are of other classes.
Network: WRN-28-2 in bfloat16; others have WRN-37-2 here, with a fourth group of blocks, so their
results cannot be compared. Mean and standard deviation: those of the training images, recalled.
"""

from . import paper, recipes, released
from .recipes import Labels, Recipe, View

MEAN, STD = (113.911, 112.149, 103.683), (66.377, 65.433, 69.182)


def data(labels: Labels) -> dict:
    """Sections of a config.

    labels: total number, equal for each class, sampled by the seed (the set's ten folds of 1,000 are
    not used); 'all' is 5,000. All 105,000 images are unlabeled, and kept on the device, 2.9 GB.
    """
    return dict(
        source=dict(name='tfds', dataset='stl10', unlabeled='unlabelled'),
        split=dict(labels=recipes.count(labels)),
        views=recipes.views(96, MEAN, STD, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
        resident_bytes=2**32,
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
NOTHING = 'nothing; FixMatch has 93.75 % (README of JEPAMatch)'
RECIPES = [
    Recipe('supervised', PAPER),
    Recipe('supervised,view=strong', PAPER),
    Recipe('uda', RELEASED, NOTHING),
    Recipe('mpl', RELEASED, NOTHING),
]
