"""Your own images without labels: self-supervised training, before any method of configs/folder.py.

    python -m mpl.train --config=configs/folder_pretrain.py:simclr,path=photos,size=96 --workdir=runs/photos_simclr
    python -m mpl.train --config=configs/folder_pretrain.py:byol,path=photos,size=96,probe=off --workdir=runs/photos_byol

A method of configs/folder.py starts from such a run with --config.init_from.workdir=runs/photos_simclr
--config.init_from.head=new. `path` is as in configs/folder.py; all its training images are used. Labels,
if there are any, train a linear classifier beside them, on fixed features; without any give probe=off.
The network is that of configs/folder.py, WRN-28-2, for 10,000 steps of 256 images of 96 pixels. Heads and
colors are those of configs/cifar10_pretrain.py, and its rate for 512 images is halved; half of the first
views are blurred, a tenth of different second ones. Nothing was tuned.
"""

from functools import partial
from typing import Literal

import ml_collections

from . import cifar10_pretrain, folder, pretraining
from .recipes import Labels, Recipe

BATCH = 256
QUEUE = 1024  # at most the number of images
TASKS = ('rotation', 'jigsaw', 'inpainting', 'colorization')


def method(
    name: str,
    path: str = 'photos',
    labels: Labels = 'all',
    size: int = 96,
    steps: int = 10_000,
    probe: Literal['on', 'off'] = 'on',
):
    """One of METHODS.

    Args:
      name: of the method.
      path: of the folder or CSV file.
      labels: number of labeled images that train the probe.
      size: of the views, in pixels.
      steps: of the run.
      probe: 'off' for images without any label.
    """
    chosen = folder.METHODS['supervised'](path, labels, size, steps=steps).to_dict()
    given = dict(**folder.STANDARDIZED['wide_resnet'], size=size)
    if name in TASKS:
        rate = 0.2  # That of 128 images, doubled.
        rule, heads = pretraining.tasks(512, size, 3, 'wide_resnet')[name]
        views = pretraining.task_views(name, dict(name='identity'), area=(0.5, 1.0), **given)
    else:
        like = cifar10_pretrain.METHODS[name]()
        rate = cifar10_pretrain.RATES[name][0] * BATCH / cifar10_pretrain.BATCH
        rule, heads = like.algorithm.to_dict(), cifar10_pretrain.HEADS[name]
        if 'queue' in rule:
            rule['queue'] = QUEUE
        if 'ema_steps' in rule:
            rule['ema_steps'] = steps
        views = like.views.to_dict() | given
        views['first']['blurred'] = 0.5
        if views['second']:
            views['second']['blurred'] = 0.1
    optimizer = dict(
        name='sgd',
        learning_rate=rate,
        warmup_steps=steps // 20,
        weight_decay=5e-4,
        nesterov=name in TASKS,
    )
    chosen |= dict(
        batch=dict(labeled=0 if probe == 'off' else 32, unlabeled=BATCH, evaluate=512),
        views=views,
        networks=pretraining.networks(folder.MODELS['wide_resnet'], optimizer, heads),
        algorithm=rule | dict(name=name),
    )
    return ml_collections.ConfigDict(chosen)


METHODS = {name: partial(method, name) for name in (*cifar10_pretrain.ALGORITHMS, *TASKS)}
del METHODS['supcon']  # It learns from labels.
RECIPES = [Recipe(name, 'configs/cifar10_pretrain.py, untuned') for name in METHODS]
