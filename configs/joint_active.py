"""MoBYv2AL and what it is compared with, on a CPU: labels bought one batch after another.

    python -m mpl.active --config=configs/joint_active.py:learner=mobyv2al,rule=k_center --workdir=runs/al
    python -m mpl.active --config=configs/joint_active.py:learner=two_stage,data=fashion_mnist --workdir=runs/al2

The learners share network and views and see as many images in every training: `supervised`, labels
alone; `mobyv2al`, the joint loss of arXiv 2301.01531; `two_stage`, its self-supervised part on the whole pool
once, and then labels alone from these weights in every cycle. Nothing was tuned. With
--config.split.imbalance=10 and "--config.split.rare=('0','1','2','3','4')" five classes are cut to a tenth,
like those of CIFAR-10 in the paper.
"""

from typing import Literal

import ml_collections

from . import digits_pretrain, laptop_pretrain, recipes
from .digits_active import Rule, passes

Data = Literal['digits', 'fashion_mnist']
QUEUE = {'digits': 512, 'fashion_mnist': 2048}  # at most the pool with five classes cut
SEEN = 96_000  # images of a training


def training(name: str, data: Data, joint: bool) -> ml_collections.ConfigDict:
    """One training by `mobyv2al` or `moby`, not `timed` yet; joint: with labels, else without any."""
    if data == 'digits':
        chosen = digits_pretrain.METHODS[name]()
        views = digits_pretrain.METHODS['mobyv2al']().views
    else:
        chosen = laptop_pretrain.METHODS[name](data, model='cnn')
        views = laptop_pretrain.METHODS['mobyv2al'](data).views
        chosen.batch.update(labeled=32, unlabeled=64)
        for network in chosen.networks.values():
            network.optimizer.learning_rate = 0.06
    chosen.views = views
    chosen.algorithm.queue = QUEUE[data]
    if not joint:
        chosen.batch.labeled = 0
    return chosen


def timed(chosen: ml_collections.ConfigDict) -> ml_collections.ConfigDict:
    """With the steps in which it sees SEEN images."""
    steps = SEEN // (chosen.batch.labeled + chosen.batch.unlabeled)
    chosen.steps = steps
    chosen.every.update(evaluate=steps, save=steps)
    for network in chosen.networks.values():
        network.optimizer.warmup_steps = steps // 10
    if 'queue' in chosen.algorithm:
        chosen.algorithm.ema_steps = steps
    return chosen


def get_config(
    learner: Literal['supervised', 'mobyv2al', 'two_stage'] = 'mobyv2al',
    rule: Rule = 'k_center',
    data: Data = 'digits',
    start: int = 20,
    budget: int = 20,
    cycles: int = 2,
):
    chosen = training('mobyv2al', data, joint=True)
    if learner != 'mobyv2al':
        chosen.algorithm = dict(name='supervised', ema_decay=0.99)
        chosen.networks = dict(student=chosen.networks.student.to_dict())
        chosen.batch.unlabeled = 0
    chosen = timed(chosen)
    if learner == 'two_stage':
        first = timed(training('moby', data, joint=False))
        chosen.init_from = dict(config=recipes.stage(first), head='new')
    chosen.split = dict(labels=0, validation=0)
    chosen.active = dict(
        rule=dict(name=rule), start=start, budget=budget, cycles=cycles, **passes(rule)
    )
    return chosen
