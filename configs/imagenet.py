"""ImageNet with few labels, or with all of them and more images: data, views, recipes.

    python -m mpl.train --config=configs/imagenet.py:mpl --workdir=runs/imagenet_10
    python -m mpl.train --config=configs/imagenet.py:uda,labels=1% --workdir=runs/imagenet_1
    python -m mpl.train --config=configs/imagenet.py:mpl,labels=all,hyperparameters=paper,unlabeled=my_pictures --workdir=runs/imagenet

`imagenet2012` and, for 10 % and 1 % of the labels, `imagenet2012_subset/10pct` and `/1pct` (those of
SimCLR; the 10 % of the released code of Meta Pseudo Labels are not public) must be prepared by
tensorflow-datasets, as array_record; --config.source.data_dir is their folder. Views as in the released
code: one random crop of each image for all its views, 224 pixels; RandAugment N = 2, M = 17 on the
strong view; the center 87.5 % for evaluation. Network: ResNet-50 in bfloat16. The released code has no
feedback in effect, which is --config.algorithm.feedback=off here.

With all labels the unlabeled images are the split `train`, without its labels, of another set prepared
by tensorflow-datasets, whose name is `unlabeled`. (The paper's are 12.8 million images of JFT, the most
confident ones of a supervised ResNet-50, and not public.) As in the paper (section 3.3), 25,000 labeled
images are for validation, a step has 4,096 labeled and 32,768 unlabeled images, and there are 500,000
steps, with 10,000 of fine-tuning at the rate 1e-4. All else is as for 10 % in configs/paper.py. Larger
networks: configs/imagenet_efficientnet.py.
"""

from typing import Literal

from . import paper, released
from .recipes import Recipe, View

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RESNET50 = dict(name='resnet', depth=50, dtype='bfloat16')
SUBSETS = {'10%': '10pct', '1%': '1pct', 'all': ''}
LARGE = dict(labeled=4096, unlabeled=32_768)  # section 3.3

Labels = Literal['10%', '1%', 'all']
Hyperparameters = Literal['released', 'paper']


def data(
    labels: Labels = 'all',
    extra: str = '',
    held_out: int = 0,
    model: dict = RESNET50,
    size: int = 224,
    magnitude: float = 17.0,
) -> dict:
    """Sections of a config.

    Args:
      labels: the share of labeled images; with '10%' and '1%' the other images are unlabeled.
      extra: the name of a prepared set whose split 'train' has the unlabeled images.
      held_out: labeled images for validation.
      model: the network.
      size: of the views, in pixels.
      magnitude: of RandAugment.
    """
    subset = SUBSETS[labels]
    source = dict(
        name='tfds',
        dataset=f'imagenet2012_subset/{subset}' if subset else 'imagenet2012',
        test='validation',
        size=size,
        central=0.875,
    )
    if subset:
        # As in the released code the unlabeled images include the labeled ones, each with one index.
        source |= dict(
            unlabeled='train', unlabeled_dataset='imagenet2012', unlabeled_without_train=True
        )
    elif extra:
        source |= dict(unlabeled='train', unlabeled_dataset=extra)
    return dict(
        source=source,
        split=dict(validation=held_out, unlabeled_includes_labeled=not extra),
        views=dict(
            name='crops',
            mean=MEAN,
            std=STD,
            size=size,
            strong=dict(
                name='released',
                layers=2,
                magnitude=magnitude,
                translate=100.0,
                patch=80,
                cutout=0,
            ),
        ),
        model=model,
        steps_per_call=1,
    )


def supervised(labels: Labels = '10%', view: View = 'weak'):
    return paper.supervised(data(labels), 'imagenet', view)


def pseudo_label(labels: Literal['10%', '1%'] = '10%'):
    return paper.pseudo_label(data(labels), 'imagenet')


def uda(labels: Labels = '10%', hyperparameters: Hyperparameters = 'released', unlabeled: str = ''):
    _check(labels, hyperparameters, unlabeled)
    if labels == 'all':
        return paper.uda(data('all', unlabeled, held_out=25_000), 'imagenet', **LARGE)
    if hyperparameters == 'paper':
        return paper.uda(data(labels), 'imagenet')
    return released.uda(data(labels), released.IMAGENET)


def mpl(labels: Labels = '10%', hyperparameters: Hyperparameters = 'released', unlabeled: str = ''):
    _check(labels, hyperparameters, unlabeled)
    if labels == 'all':
        images = data('all', unlabeled, held_out=25_000)
        return paper.mpl(images, 'imagenet', paper.LONG_FINETUNE, **LARGE)
    # 2,000 steps for 10 % in section 3.2; those of 1 % are the paper's for few labels.
    finetune = paper.FINETUNE | (dict(steps=2_000) if labels == '10%' else {})
    if hyperparameters == 'paper':
        return paper.mpl(data(labels), 'imagenet', finetune)
    return released.mpl(data(labels), released.IMAGENET, finetune)


METHODS = {'supervised': supervised, 'pseudo_label': pseudo_label, 'uda': uda, 'mpl': mpl}


def _check(labels, hyperparameters, unlabeled):
    if labels == 'all' and hyperparameters == 'released':
        raise ValueError(
            'the released code has no setting with all labels; add hyperparameters=paper.'
        )
    if (labels == 'all') != bool(unlabeled):
        raise ValueError(
            'labels=all needs unlabeled=, the name of a prepared set of unlabeled images, and only '
            'labels=all takes it.'
        )


UNCERTAIN = 'configs/paper.py, recalled, the least certain of its tables'
PAPER = 'configs/paper.py, recalled'
LARGE_PAPER = 'batches, steps and fine-tuning of section 3.3; else ' + PAPER
FEW = 'configs/released.py, those of 10 %, untuned for so few'
RECIPES = [
    Recipe('supervised', UNCERTAIN),
    Recipe('supervised,view=strong', UNCERTAIN),
    Recipe('supervised,labels=1%', UNCERTAIN),
    Recipe('supervised,labels=1%,view=strong', UNCERTAIN),
    Recipe('supervised,labels=all', UNCERTAIN, '76.9 % top-1, 93.3 % top-5 (MPL paper, table 3)'),
    Recipe('supervised,labels=all,view=strong', UNCERTAIN),
    Recipe('pseudo_label', UNCERTAIN),
    Recipe(
        'uda',
        'configs/released.py, those of the teacher of `mpl`',
        '68.07 % top-1, 88.19 % top-5 (MPL paper); 68.78 % (README of UDA)',
    ),
    Recipe('uda,hyperparameters=paper', PAPER, '68.07 % top-1, 88.19 % top-5 (MPL paper)'),
    Recipe('uda,labels=1%', FEW),
    Recipe(
        'uda,labels=all,hyperparameters=paper,unlabeled=my_pictures',
        LARGE_PAPER,
        '79.0 % top-1, 94.5 % top-5 with JFT (MPL paper, table 3)',
    ),
    Recipe(
        'mpl',
        'configs/released.py; fine-tuning of section 3.2',
        '73.89 % top-1, 91.38 % top-5 after fine-tuning (paper, one run)',
    ),
    Recipe(
        'mpl,hyperparameters=paper',
        PAPER,
        '73.89 % top-1, 91.38 % top-5 after fine-tuning (paper, one run)',
    ),
    Recipe('mpl,labels=1%', FEW, 'nothing; SimMatchV2 has 71.9 %'),
    Recipe(
        'mpl,labels=all,hyperparameters=paper,unlabeled=my_pictures',
        LARGE_PAPER,
        '83.2 % top-1, 96.5 % top-5 with JFT (table 3)',
    ),
]
