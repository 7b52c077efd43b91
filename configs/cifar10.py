"""CIFAR-10 with few labels: data, views, network and recipes.

    python -m mpl.train --config=configs/cifar10.py:mpl --workdir=runs/cifar10
    python -m mpl.train --config=configs/cifar10.py:fixmatch,labels=250 --workdir=runs/cifar10_250

    python -c "import tensorflow_datasets as tfds; tfds.data_source('cifar10')"

prepares the data (once, with TensorFlow installed) in ~/tensorflow_datasets; another folder is given by
--config.source.data_dir. Network: WRN-28-2 in bfloat16, 1,467,610 parameters. Mean and standard
deviation are those of the released code of Meta Pseudo Labels. That code has no feedback in effect,
which is --config.algorithm.feedback=off here. With hyperparameters=paper, `mpl` and `uda` have 41,000
unlabeled images.
"""

from functools import partial
from typing import Literal

from . import fixmatch, noisy_student, paper, recipes, released, trained_teacher
from .recipes import USB, Labels, Recipe, View

MEAN, STD = (125.307, 122.9503, 113.8654), (62.9932, 62.0887, 66.7054)


def data(labels: Labels, held_out: bool = False) -> dict:
    """Sections of a config.

    Args:
      labels: total number, equal for each class, sampled by the seed; 'all' is 50,000. (The
        released code takes the first 4,000 images of its file, of any class.)
      held_out: as in the paper: 5,000 images are for validation, and labeled images are not among
        the unlabeled ones, which are 41,000 with 4,000 labels. Otherwise, as in the released code,
        all 50,000 are unlabeled and none is held out.
    """
    return dict(
        source=dict(name='tfds', dataset='cifar10'),
        split=dict(
            labels=recipes.count(labels),
            validation=5000 if held_out else 0,
            unlabeled_includes_labeled=not held_out,
        ),
        views=recipes.views(32, MEAN, STD, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
    )


def supervised(labels: Labels = 4000, view: View = 'weak'):
    return paper.supervised(data(labels), 'cifar10', view)


def pseudo_label(labels: Labels = 4000, hyperparameters: Literal['paper', 'fixmatch'] = 'paper'):
    if hyperparameters == 'fixmatch':
        return fixmatch.config(data(labels), 'pseudo_label')
    return paper.pseudo_label(data(labels), 'cifar10')


def uda(labels: Labels = 4000, hyperparameters: Literal['released', 'paper'] = 'released'):
    if hyperparameters == 'paper':
        return paper.uda(data(labels, held_out=True), 'cifar10')
    return released.uda(data(labels), released.CIFAR10)


def mpl(labels: Labels = 4000, hyperparameters: Literal['released', 'paper'] = 'released'):
    if hyperparameters == 'paper':
        return paper.mpl(data(labels, held_out=True), 'cifar10')
    return released.mpl(data(labels), released.CIFAR10)


def consistency(method: str, labels: Labels = 4000):
    return fixmatch.config(data(labels), method)


def rounds(labels: Labels = 4000):
    return noisy_student.small(data(labels), 'cifar10', per_class=5000, ratio=1)


def distill(labels: Labels = 4000):
    return trained_teacher.distill(data(labels), released.CIFAR10)


def reduced_mpl(labels: Labels = 4000):
    return trained_teacher.reduced_mpl(data(labels), released.CIFAR10)


METHODS = {
    'supervised': supervised,
    'pseudo_label': pseudo_label,
    **{name: partial(consistency, name) for name in fixmatch.ALGORITHMS if name != 'pseudo_label'},
    'uda': uda,
    'mpl': mpl,
    'noisy_student': rounds,
    'distill': distill,
    'reduced_mpl': reduced_mpl,
}

RELEASED, PAPER = 'configs/released.py', 'configs/paper.py, recalled'
UNCERTAIN = 'configs/paper.py, recalled, the least certain of its tables'
FEW = 'configs/released.py, those of 4,000 labels, untuned for so few'
FIXMATCH, TAUGHT = (
    'configs/fixmatch.py',
    'configs/trained_teacher.py; the teacher is `uda`, trained first',
)
RECIPES = [
    Recipe('supervised', UNCERTAIN, f'82.14 ± 0.25 % (MPL paper, 10 runs); 84.49 % {USB}'),
    Recipe('supervised,view=strong', UNCERTAIN, '85.53 ± 0.25 % (MPL paper, 10 runs)'),
    Recipe('supervised,labels=40', UNCERTAIN, f'with other hyperparameters 22.42 % {USB}'),
    Recipe('supervised,labels=40,view=strong', UNCERTAIN),
    Recipe('supervised,labels=250', UNCERTAIN, f'with other hyperparameters 44.04 % {USB}'),
    Recipe('supervised,labels=250,view=strong', UNCERTAIN),
    Recipe(
        'supervised,labels=all', UNCERTAIN, f'94.92 ± 0.17 % (MPL paper, 10 runs); 95.42 % {USB}'
    ),
    Recipe('supervised,labels=all,view=strong', UNCERTAIN),
    Recipe('pseudo_label', UNCERTAIN, '83.79 % (MPL paper)'),
    Recipe('pseudo_label,hyperparameters=fixmatch', FIXMATCH, f'85.10 % {USB}'),
    Recipe('pi_model', FIXMATCH, f'87.20 % {USB}'),
    Recipe(
        'temporal_ensembling',
        FIXMATCH,
        '83.63 %, as the MPL paper quotes it; probably the figure of the Pi-model in '
        'arXiv 1804.09170 (recalled)',
    ),
    Recipe(
        'mean_teacher',
        FIXMATCH,
        "91.90 % (TorchSSL); 84.13 % as the MPL paper quotes it; USB's learns nothing",
    ),
    Recipe('vat', FIXMATCH, f'89.03 % {USB}; 86.87 % as the MPL paper quotes it'),
    Recipe(
        'uda',
        'configs/released.py, those of the teacher of `mpl`',
        '94.53 ± 0.18 % (MPL paper, 10 runs); 95.68 ± 0.08 % by the code of UDA and 95.71 ± 0.07 % '
        'by TorchSSL, which train longer on smaller batches (64 labeled, 448 unlabeled)',
    ),
    Recipe('uda,hyperparameters=paper', PAPER, '94.53 ± 0.18 % (MPL paper, 10 runs)'),
    Recipe(
        'uda,labels=40',
        FEW,
        'with other hyperparameters 91.99 % (USB) and 89.38 % (TorchSSL), 3 seeds, the best on test',
    ),
    Recipe(
        'uda,labels=250',
        FEW,
        'with other hyperparameters 94.88 % (USB) and 94.84 % (TorchSSL), 3 seeds, the best on test',
    ),
    Recipe('fixmatch', FIXMATCH, f'95.74 % (its paper); 95.71 % {USB}'),
    Recipe('fixmatch,labels=40', FIXMATCH, f'86.19 % (its paper); 91.67 % {USB}'),
    Recipe('fixmatch,labels=250', FIXMATCH, f'94.93 % (its paper); 95.03 % {USB}'),
    Recipe('flexmatch', FIXMATCH, f'95.72 % {USB}'),
    Recipe('flexmatch,labels=40', FIXMATCH, f'94.79 % {USB}'),
    Recipe('flexmatch,labels=250', FIXMATCH, f'95.00 % {USB}'),
    Recipe('freematch', FIXMATCH, f'95.86 % {USB}'),
    Recipe('freematch,labels=40', FIXMATCH, f'95.03 % {USB}'),
    Recipe('freematch,labels=250', FIXMATCH, f'95.15 % {USB}'),
    Recipe('softmatch', FIXMATCH, f'95.73 % {USB}'),
    Recipe('softmatch,labels=40', FIXMATCH, f'94.94 % {USB}'),
    Recipe('softmatch,labels=250', FIXMATCH, f'95.16 % {USB}'),
    Recipe(
        'mpl',
        RELEASED,
        '96.11 ± 0.07 % over 10 runs after fine-tuning, 95.60 before (paper); 96.08, and 96.01 '
        'before, by kekmodel/MPL-pytorch with these hyperparameters, the best checkpoint on test, '
        'in about two days on one RTX A6000',
    ),
    Recipe(
        'mpl,hyperparameters=paper',
        PAPER,
        '96.11 ± 0.07 % over 10 runs after fine-tuning, 95.60 before (paper)',
    ),
    Recipe('mpl,labels=40', FEW),
    Recipe('mpl,labels=250', FEW),
    Recipe(
        'noisy_student',
        'threshold, soft labels, label smoothing, balance and ratio as in the released code of Noisy '
        'Student, which has no CIFAR-10; the rest as `supervised`',
        'nothing with 4,000 labels; 98.22 ± 0.05 % with all of them, Tiny Images and '
        'EfficientNet-B0 (MPL paper, recalled)',
    ),
    Recipe('distill', TAUGHT),
    Recipe('reduced_mpl', TAUGHT),
]
