"""Building blocks of recipes: the data of one file, the hyperparameters of another.

A recipe is one method with a set of hyperparameters (configs/released.py, configs/paper.py,
configs/fixmatch.py) on a data set (configs/cifar10.py and others).
"""

from typing import Literal, NamedTuple

import ml_collections

USB = '(USB, 3 seeds, the best on test)'  # after a published accuracy
COPIED = ('seed', 'source', 'split')  # from the run that a stage is trained for
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
      data: sections source, split, views, any others that the data set needs, and `model`.
      algorithm: of the run.
      optimizers: of each network, by role.
      steps: of the run.
      labeled: labeled images per step.
      unlabeled: unlabeled images per step.
      dropout: rate before the last layer of each network, by role; empty for none.
      finetune: the last stage; empty for none.
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


def stage(chosen: ml_collections.ConfigDict) -> dict:
    """The config of a run that is trained before another one, which gives it its own `COPIED`."""
    return {key: value for key, value in chosen.to_dict().items() if key not in COPIED}


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
    """Views of small images as in the released code: flip, shift, RandAugment, cutout, flip and shift.

    For 32 pixels its values: N = 2 and M = 16, shifts of up to 4 and cutout of 16 pixels; lengths are
    proportional to `size`. mirror: whether to flip. operations: of RandAugment; None for all 15.
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
