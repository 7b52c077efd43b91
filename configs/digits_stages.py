"""Pretext tasks on the digits, and runs that start from a pre-training: data of configs/digits.py.

    python -m mpl.train --config=configs/digits_stages.py:rotation --workdir=runs/rotation
    python -m mpl.train --config=configs/digits_stages.py:fixmatch,start=simclr --workdir=runs/fixmatch_simclr
    python -m mpl.train --config=configs/digits_stages.py:simclrv2 --workdir=runs/simclrv2

`rotation`, `inpainting` and `jigsaw` train on all images, with an online probe of the labels; `s4l` trains
rotations beside the labels. `supervised`, `uda`, `fixmatch` and `mpl` are those of configs/digits.py, whose networks
start from a pre-training: a pretext task, or a method of configs/digits_pretrain.py, which is trained first,
in the folder pretrain/. `simclrv2` has the three stages of arXiv 2006.10029: pre-training with a deep projector,
fine-tuning from its first layer, and distillation to a new network on the unlabeled images.
"""

from functools import partial

import ml_collections

from . import digits, digits_pretrain, pretraining, recipes
from .recipes import Labels, Recipe

TASKS = pretraining.tasks(hidden=64, side=8, channels=1, model='cnn')
del TASKS['colorization']  # The digits are gray.


def pretext(task: str, labels: Labels = 40):
    """One of TASKS. Its views are not rotated, since rotations need a canonical orientation."""
    numbers, head = TASKS[task]
    data = digits.config(labels, dict(name=task, ema_decay=0.99) | numbers).to_dict()
    views, student = data['views'], data['networks']['student']
    data['views'] = pretraining.task_views(
        task, views['strong'] | dict(rotate=0.0), mean=views['mean'], std=views['std'], mirror=False
    )
    data['batch'] |= dict(labeled=64, unlabeled=128)
    model = student['model'] | dict(pool='mean')
    data['networks'] = pretraining.networks(model, student['optimizer'], head)
    return ml_collections.ConfigDict(data)


def started(method: str, labels: Labels = 40, start: str = 'simclr'):
    """A method of configs/digits.py, from a pre-training of the same layers."""
    methods = {task: partial(pretext, task) for task in TASKS} | digits_pretrain.METHODS
    if start not in methods:
        raise ValueError(f'start is {start!r}; give one of {", ".join(methods)}.')
    chosen = digits.METHODS[method](labels)
    for network in chosen.networks.values():
        network.model.pool = 'mean'
    chosen.init_from = dict(config=recipes.stage(methods[start](labels)), head='new')
    return chosen


def simclrv2(labels: Labels = 40, width: int = 128):
    """`width`: of the hidden layers of the projector, which has three layers."""
    first = digits_pretrain.METHODS['simclr'](labels)
    first.networks.projector.model.widths = (width, width, 64)
    tuned = digits.supervised(labels)
    trunk = first.networks.student.model.to_dict()
    tuned.networks.student.model = dict(name='projected', trunk=trunk, widths=(width,))
    tuned.init_from = dict(config=recipes.stage(first), head='new', projector=1)
    student = digits.config(
        labels, dict(name='distill', weight=1.0, temperature=1.0, ema_decay=0.99)
    )
    student.teacher = dict(config=recipes.stage(tuned))
    return student


METHODS = {
    **{task: partial(pretext, task) for task in TASKS},
    **{name: partial(started, name) for name in ('supervised', 'uda', 'fixmatch', 'mpl')},
    'simclrv2': simclrv2,
}
RECIPES = [
    Recipe(name, 'configs/digits.py, configs/digits_pretrain.py; not tuned') for name in METHODS
]
