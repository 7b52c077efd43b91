"""Pre-training on the digits, and what starts from it: the networks and data of configs/digits.py.

    python -m mpl.train --config=configs/digits_stages.py:pretrain,task=rotation --workdir=runs/rotation
    python -m mpl.train --config=configs/digits_stages.py:fixmatch --workdir=runs/fixmatch_pretrained
    python -m mpl.train --config=configs/digits_stages.py:simclrv2 --workdir=runs/simclrv2

`pretrain` is a pretext task or SimCLR on all images, with an online probe of the labels. `supervised`,
`uda`, `fixmatch` and `mpl` are those of configs/digits.py, whose networks start from such a pre-training, which is
trained first, in the folder pretrain/. `simclrv2` has the three stages of arXiv 2006.10029: pre-training with
a deep projector, fine-tuning from its first layer, and distillation to a new student on the unlabeled images.
`s4l` trains rotations beside the labels. Nothing is tuned.
"""

from functools import partial
from typing import Literal

import ml_collections

from . import digits
from .recipes import Labels, Recipe

Task = Literal['simclr', 'rotation', 'inpainting', 'jigsaw']
# Of each task: numbers of the rule, its head and the widths of the head.
TASKS = {
    'simclr': (dict(temperature=0.2), 'projector', (64, 64)),
    'rotation': ({}, 'classifier', (64, 4)),
    'inpainting': (dict(hole=4, overlap=1), 'decoder', (64, 16)),
    'jigsaw': (dict(tile=3, grid=2, permutations=24), 'classifier', (64, 24)),
}
COPIED = ('seed', 'source', 'split')  # from the run that a stage is trained for


def pretrain(labels: Labels = 40, task: Task = 'simclr'):
    """Rotations need an upright, so the views of pretext tasks are not rotated."""
    numbers, role, widths = TASKS[task]
    chosen = digits.config(labels, dict(name=task, ema_decay=0.99) | numbers, unlabeled=128)
    optimizer = chosen.networks.student.optimizer.to_dict()
    chosen.networks[role] = dict(model=dict(name='projector', widths=widths), optimizer=optimizer)
    if task == 'jigsaw':
        chosen.networks.student.model.pool = 'mean'  # Tiles are smaller than images.
    chosen.views = _views(chosen, 0.0 if role != 'projector' else 20.0, 1 + (role == 'projector'))
    return chosen


def s4l(labels: Labels = 40):
    chosen = digits.config(labels, dict(name='s4l', ema_decay=0.99), unlabeled=64)
    optimizer = chosen.networks.student.optimizer.to_dict()
    chosen.networks.classifier = dict(
        model=dict(name='projector', widths=(64, 4)), optimizer=optimizer
    )
    chosen.views = _views(chosen, 0.0, 1, labeled='strong')
    return chosen


def started(method: str, labels: Labels = 40, task: Literal['simclr', 'rotation'] = 'simclr'):
    """A method of configs/digits.py from a pre-training."""
    chosen = digits.METHODS[method](labels)
    chosen.init_from = dict(config=_stage(pretrain(labels, task)), head='new')
    return chosen


def simclrv2(labels: Labels = 40, width: int = 64):
    """`width` of each layer of the projector, which has three."""
    first = pretrain(labels)
    first.networks.projector.model.widths = (width, width, width)
    tuned = digits.supervised(labels)
    model = dict(name='projected', trunk=tuned.networks.student.model.to_dict(), widths=(width,))
    tuned.networks.student.model = model
    tuned.init_from = dict(config=_stage(first), head='new', projector=1)
    student = digits.config(
        labels, dict(name='distill', weight=1.0, temperature=1.0, ema_decay=0.99)
    )
    student.teacher = dict(config=_stage(tuned))
    return student


def _views(chosen, rotate, parts, labeled='none'):
    """Two views, or one, by the strong policy of configs/digits.py."""
    views = chosen.views
    policy = views.strong.to_dict() | dict(rotate=rotate)
    return dict(
        name='pairs',
        mean=views.mean,
        std=views.std,
        mirror=False,
        first=policy,
        parts=parts,
        labeled=labeled,
    )


def _stage(chosen: ml_collections.ConfigDict) -> dict:
    given = chosen.to_dict()
    return {key: value for key, value in given.items() if key not in COPIED}


METHODS = {
    'pretrain': pretrain,
    's4l': s4l,
    **{name: partial(started, name) for name in ('supervised', 'uda', 'fixmatch', 'mpl')},
    'simclrv2': simclrv2,
}
RECIPES = [
    Recipe(arguments, 'configs/digits.py; pre-training not tuned')
    for arguments in (
        *(f'pretrain,task={task}' for task in TASKS),
        's4l',
        'supervised',
        'uda',
        'fixmatch',
        'mpl',
        'simclrv2',
    )
]
