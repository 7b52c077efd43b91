"""Photographs and digits on a laptop's CPU: a fast network, a budget of FLOPs, all methods.

    python -m mpl.train --config=configs/laptop.py:uda --workdir=runs/laptop
    python -m mpl.train --config=configs/laptop.py:mpl,data=mnist,labels=100,budget=1e13 --workdir=runs/mnist

The data are prepared as in configs/cifar10.py. Each method has as many steps as the budget allows, so
that methods are compared at equal compute: two CPU cores do about 1e11 FLOPs per second, so 1e14
takes a quarter of an hour on them.
"""

from functools import partial
from typing import Literal

import ml_collections

from . import recipes
from .recipes import Labels, Recipe

# By data set: mean, standard deviation, pixels of a side, whether images may be mirrored, labels.
DATA = {
    'cifar10': dict(
        mean=(125.307, 122.9503, 113.8654),
        std=(62.9932, 62.0887, 66.7054),
        side=32,
        mirror=True,
        labels=4000,
    ),
    'fashion_mnist': dict(mean=72.94, std=90.02, side=28, mirror=True, labels=1000),
    'mnist': dict(mean=33.32, std=78.57, side=28, mirror=False, labels=100),
}
Data = Literal['cifar10', 'fashion_mnist', 'mnist']
CHANNELS = (32, 128, 128)
# FLOPs of a pass forward for one image, with products with the border of zeros left out
# (benchmarks/flops.py), by the side of the image.
FORWARD = {32: 68e6, 28: 50e6}
LABELED, UNLABELED = 64, 128


def config(
    algorithm: dict,
    passes: float,
    data: Data,
    labels: Labels | None,
    budget: float,
    labeled: int = LABELED,
    unlabeled: int = UNLABELED,
    view: str = 'weak',
    learning_rate: float = 0.2,
):
    """The config of one method.

    Args:
      algorithm: of the run.
      passes: cost of a step in passes forward of one image.
      data: the data set.
      labels: total number; None for that in DATA.
      budget: FLOPs of the run.
      labeled, unlabeled: images per step.
      view: of the labeled images.
      learning_rate: the peak.
    """
    of = DATA[data]
    steps = max(round(budget / (passes * FORWARD[of['side']]) / 50), 1) * 50
    network = dict(
        model=dict(name='fast_cnn', channels=CHANNELS),
        optimizer=dict(
            name='sgd',
            learning_rate=learning_rate,
            schedule='linear',
            warmup_steps=steps // 5,
            weight_decay=5e-4,
        ),
    )
    roles = ('teacher', 'student') if algorithm['name'] == 'mpl' else ('student',)
    return ml_collections.ConfigDict(
        dict(
            steps=steps,
            source=dict(name='tfds', dataset=data),
            split=dict(labels=recipes.count(labels or of['labels']), validation=5000),
            batch=dict(labeled=labeled, unlabeled=unlabeled, evaluate=500),
            views=dict(
                name='images',
                mean=of['mean'],
                std=of['std'],
                labeled=view,
                weak=dict(mirror=of['mirror'], shift=2),
                strong=dict(name='randaugment', scale='rising', cutout=of['side'] // 4),
            ),
            networks={role: network for role in roles},
            algorithm=algorithm | dict(ema_decay=0.99),
            every=dict(log=50, evaluate=steps // 4, save=50),
            steps_per_call=50,
        )
    )


def supervised(
    data: Data = 'cifar10',
    labels: Labels | None = None,
    budget: float = 1e14,
    view: recipes.View = 'strong',
):
    algorithm = dict(name='supervised')
    return config(algorithm, 3 * LABELED, data, labels, budget, unlabeled=0, view=view)


def consistency(
    name: str, data: Data = 'cifar10', labels: Labels | None = None, budget: float = 1e14
):
    algorithm = dict(name=name, target_pass='separate')
    return config(algorithm, 3 * LABELED + 4 * UNLABELED, data, labels, budget)


METHODS = {
    'supervised': supervised,
    'uda': partial(consistency, 'uda'),
    'fixmatch': partial(consistency, 'fixmatch'),
}
RECIPES = [Recipe('supervised', 'untuned')]
