"""How the recipes are put together: data of one file, hyperparameters of another.

A recipe is a set of hyperparameters (configs/released.py, configs/paper.py, configs/fixmatch.py) on a set
of data (configs/cifar10.py and its like), for one method.
"""

from typing import Literal, NamedTuple

import ml_collections

USB = '(USB, 3 seeds, the best on test)'  # after a published accuracy
Labels = int | Literal['all']  # labeled images in all
View = Literal['weak', 'strong']  # of the labeled images


class Recipe(NamedTuple):
    """Arguments of a config file, with the origin of its hyperparameters and the known results."""

    arguments: str  # as they follow the colon: 'mpl,labels=250'
    source: str  # of the hyperparameters
    published: str = ''  # by others, test accuracy
    result: str = ''  # test accuracy measured with this repository


def config(
    data: dict,
    algorithm: dict,
    optimizers: dict,
    steps: int,
    labeled: int,
    unlabeled: int = 0,
    dropout: dict = {},
    finetune: dict = {},
) -> ml_collections.ConfigDict:
    """The config of a run.

    Args:
      data: sections source, split, views, and whatever else the data ask for; and `model`.
      algorithm: of the run.
      optimizers: of each network, by its role.
      steps: of the run.
      labeled: images per step.
      unlabeled: likewise.
      dropout: before the last layer of each network, by its role; none where it is empty.
      finetune: the last stage; none where it is empty.
    """
    data = dict(data)
    model = data.pop('model')
    networks = {
        role: dict(model=model | {'dropout': dropout[role]} if dropout else model, optimizer=o)
        for role, o in optimizers.items()
    }
    return ml_collections.ConfigDict(
        dict(
            steps=steps,
            batch=dict(labeled=labeled, unlabeled=unlabeled, evaluate=1024),
            networks=networks,
            algorithm=algorithm,
            finetune=finetune,
            every=dict(log=100, evaluate=5000, save=5000),
        )
        | data
    )


def count(labels: Labels) -> int:
    """The number of labels as split.labels has it: 0 for all.

    Raises:
      ValueError: it is not above 0.
    """
    if labels == 'all':
        return 0
    if labels < 1:
        raise ValueError(f'labels is {labels}; give a number above 0, or all.')
    return labels


def views(size: int, mean, std, mirror: bool, operations: tuple | None = None) -> dict:
    """Views of small images as in the released code: flip and shift, RandAugment, box, flip and shift.

    Its values for 32 pixels, N = 2 and M = 16, shifts of up to 4 and a box of 16 pixels; lengths grow
    with `size`. mirror: whether to flip. operations: of RandAugment; None for all 15.
    """
    strong = dict(
        name='released',
        layers=2,
        magnitude=16.0,
        translate=size / 8,
        patch=size // 4,
        cutout=size // 2,
    )
    if operations is not None:
        strong |= dict(operations=operations)
    return dict(
        name='images',
        mean=mean,
        std=std,
        weak=dict(mirror=mirror, shift=size // 8, fill=128.0),
        strong=strong,
        strong_geometry='twice',
    )
