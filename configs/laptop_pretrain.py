"""Self-supervised training on CIFAR-10, Fashion-MNIST and MNIST on a CPU, at equal FLOPs.

    python -m mpl.train --config=configs/laptop_pretrain.py:simclr --workdir=runs/laptop_simclr
    python -m mpl.train --config=configs/laptop_pretrain.py:byol,data=fashion_mnist --workdir=runs/laptop_byol

Data, network and labels are those of configs/laptop.py. FLOPs are counted as there, of the trunk
alone: the heads add under 2 % (3 % with `model=fast_cnn_16`), and up to 25 % with `model=cnn`. The accuracy is that of a linear
classifier on fixed features, trained beside them.
"""

from functools import partial

import ml_collections

from . import budgets, laptop, pretraining
from .budgets import SHAPES, Data, Model
from .laptop import DATA
from .recipes import Labels, Recipe

BUDGETS = {'cifar10': 5e13, 'fashion_mnist': 2e13, 'mnist': 1e13}  # FLOPs
LABELED, UNLABELED = 64, 256  # images per step
# Of each method: passes over one labeled and over one unlabeled image in a step, in passes forward, as in
# budgets.COSTS. The probe's labeled images have no pass backward.
COSTS = {
    'simclr': (1, 6),
    'moco': (1, 4),
    'moco_v3': (1, 8),
    'byol': (1, 8),
    'simsiam': (1, 6),
    'moby': (1, 8),
    'vicreg': (1, 6),
    'barlow_twins': (1, 6),
    'dino': (1, 8),
    'supcon': (4, 6),
    'mobyv2al': (3, 8),
    'rotation': (1, 12),
    's4l': (12, 12),
    'inpainting': (1, 3),
    'colorization': (1, 3),
}
RULES = {
    'simclr': dict(temperature=0.2),
    'moco': dict(queue=4096, temperature=0.2),
    'moco_v3': dict(temperature=0.2),
    'byol': dict(),
    'simsiam': dict(),
    'moby': dict(queue=4096, temperature=0.2),
    'vicreg': dict(),
    'barlow_twins': dict(scale=0.1),
    'dino': dict(ema_decay=0.99),
    'supcon': dict(temperature=0.2),
    'mobyv2al': dict(queue=4096, temperature=0.2),
}
TASKS = ('rotation', 's4l', 'inpainting', 'jigsaw', 'colorization')
HEADS = pretraining.heads(hidden=256, out=128, wide=256, prototypes=256, key_norm='plain')


def count_steps(budget: float, method: str, data: Data, model: Model) -> int:
    """Steps of a method, as `budgets.steps_of`."""
    if method == 'jigsaw':
        tile = budgets.forward(model, data, pretraining.tile(SHAPES[data][0]))
        labeled, unlabeled = 1, 12 * tile / budgets.forward(model, data)
    else:
        labeled, unlabeled = COSTS[method]
    return budgets.steps_of(budget, labeled * LABELED + unlabeled * UNLABELED, data, model)


def views(name: str, data: Data) -> dict:
    """Pairs of crops, one crop for a pretext task; gray images have no hue and saturation to change."""
    of, gray = DATA[data], data != 'cifar10'
    strong = dict(
        name='color',
        brightness=0.4,
        contrast=0.4,
        saturation=0.0 if gray else 0.4,
        hue=0.0 if gray else 0.1,
        grayscale=0.0 if gray else 0.2,
        blurred=0.0,
    )
    given = dict(
        mean=of['mean'], std=of['std'], size=SHAPES[data][0], area=(0.2, 1.0), mirror=of['mirror']
    )
    if name in TASKS:
        return pretraining.task_views(name, strong, **given)
    pair = dict(name='pairs', first=strong, labeled=pretraining.labeled_view(name), **given)
    if name == 'mobyv2al':  # A weak and a strong view, and weak ones of labeled images.
        pair |= dict(first=dict(name='identity'), second=strong)
    return pair


def method(
    name: str,
    data: Data = 'cifar10',
    labels: Labels | None = None,
    budget: float | None = None,
    model: Model = 'fast_cnn',
):
    """The method of this name in RULES or TASKS; budget: FLOPs of the run, None for that in BUDGETS."""
    steps = count_steps(BUDGETS[data] if budget is None else budget, name, data, model)
    chosen = laptop.config(dict(name='supervised'), steps, data, labels, model).to_dict()
    optimizer = dict(
        name='sgd',
        learning_rate=0.3,
        warmup_steps=steps // 10,
        weight_decay=5e-4,
    )
    if name in TASKS:
        trunk = laptop.MODELS[model]['name']
        rule, heads = pretraining.tasks(128, *SHAPES[data], trunk)[name]
    else:
        rule, heads = RULES[name], HEADS[name]
    chosen |= dict(
        batch=dict(labeled=LABELED, unlabeled=UNLABELED, evaluate=500),
        views=views(name, data),
        networks=pretraining.networks(laptop.MODELS[model], optimizer, heads),
        algorithm=dict(name=name) | rule,
    )
    return ml_collections.ConfigDict(chosen)


METHODS = {name: partial(method, name) for name in (*RULES, *TASKS)}
SOURCE = (
    "the methods' papers, heads and queue made small; learning rate 0.3 and 1.0 tried once for SimCLR, on "
    'Fashion-MNIST with 2e12 FLOPs'
)
RECIPES = [
    *(Recipe(name, SOURCE) for name in METHODS),
    *(Recipe(f'{name},data=fashion_mnist', SOURCE) for name in ('simclr', 'byol')),
]
