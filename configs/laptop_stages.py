"""Few labels on a CPU after self-supervised training: the data and budgets of configs/laptop.py.

    python -m mpl.train --config=configs/laptop_stages.py:supervised --workdir=runs/fine_tuned
    python -m mpl.train --config=configs/laptop_stages.py:uda,start=byol,data=fashion_mnist --workdir=runs/uda_byol

Half of the budget is for a method of configs/laptop_pretrain.py, which is trained first, in the folder
pretrain/, and half for a method of configs/laptop.py, whose networks start from it.
"""

from functools import partial
from typing import Literal

from . import laptop, laptop_pretrain
from .budgets import Data, Model
from .laptop import DATA, STARTED
from .recipes import Labels, Recipe


def started(
    method: str,
    data: Data = 'cifar10',
    labels: Labels | None = None,
    budget: float | None = None,
    model: Model = 'fast_cnn',
    start: Literal[tuple(laptop_pretrain.METHODS)] = 'simclr',
):
    """The method from a start; budget: FLOPs of both stages, None for that in laptop.DATA."""
    budget = DATA[data]['budget'] if budget is None else budget
    first = laptop_pretrain.METHODS[start](data, labels, STARTED * budget, model)
    chosen = laptop.METHODS[method](data, labels, (1 - STARTED) * budget, model)
    laptop.start_from(chosen, first, head='new')
    return chosen


METHODS = {name: partial(started, name) for name in ('supervised', 'uda', 'fixmatch', 'mpl')}
RECIPES = [
    Recipe(
        name,
        'configs/laptop.py, configs/laptop_pretrain.py; learning rate after the start not tried',
    )
    for name in METHODS
]
