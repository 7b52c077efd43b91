"""Fashion-MNIST and CIFAR-10 at the size of a CPU: a small network, few steps, all methods.

    python -m mpl.train --config=configs/small_images.py:mpl --workdir=runs/small
    python -m mpl.train --config=configs/small_images.py:uda,data=cifar10 --workdir=runs/small_cifar10

The data are prepared as in configs/cifar10.py. A run takes up to 4 minutes on one CPU core: a wide
residual network of 10 layers, and 600 steps with 8 labeled and 32 unlabeled images.
Nothing was tuned on these sets. Learning rate, weight decay and dropout are those of the recipes for
32x32 images, scaled to the small batch. The hyperparameters of each method are the tuned ones of
configs/digits.py, with ramps over the same share of the run, with two exceptions: the temperature, mask
and ramp of `uda` are those inside MPL, and feedback=off is `exact` without its feedback. After so few
steps no method is reliably better than labels only.
"""

from functools import partial
from typing import Literal

import ml_collections

from . import noisy_student, recipes
from .recipes import Recipe

ALGORITHMS = {
    'supervised': dict(name='supervised'),
    'pseudo_label': dict(name='pseudo_label', threshold=0.8),
    'pi_model': dict(name='pi_model', weight=30.0, ramp_steps=240),
    'temporal_ensembling': dict(name='temporal_ensembling', weight=30.0, ramp_steps=240),
    'mean_teacher': dict(name='mean_teacher', weight=100.0, ramp_steps=60),
    'vat': dict(name='vat', weight=1.0, radius=2.0, entropy_weight=1.0, ramp_steps=240),
    'uda': dict(name='uda', temperature=0.7, threshold=0.6, ramp_steps=100),
    'fixmatch': dict(name='fixmatch', threshold=0.7, weight=3.0),
    'flexmatch': dict(name='flexmatch', threshold=0.7),
    'freematch': dict(name='freematch', fairness_weight=0.001, memory_decay=0.99),
    'softmatch': dict(name='softmatch', deviations=1.0, memory_decay=0.99),
    'noisy_student': dict(name='noisy_student'),
    'distill': dict(name='distill', weight=0.5, temperature=8.0),
    'reduced_mpl': dict(name='reduced_mpl', feedback='exact'),
}
FEEDBACK = {
    'exact': dict(),
    'off': dict(),
    'per_example': dict(labels='sampled', feedback_weight=0.3),
}
MPL = dict(
    name='mpl', label_view='weak', uda_temperature=0.7, uda_threshold=0.6, uda_ramp_steps=100
)
# Methods with a teacher that is trained first.
TEACHERS = {'noisy_student': 'supervised', 'distill': 'uda', 'reduced_mpl': 'uda'}
# By data set: labels, mean, standard deviation, shift of the weak view, cutout of the strong one.
DATA = {
    'fashion_mnist': dict(labels=200, mean=72.9, std=90.0, shift=2, cutout=8),
    'cifar10': dict(
        labels=1000, mean=(125.3, 122.95, 113.87), std=(63.0, 62.09, 66.7), shift=4, cutout=16
    ),
}
Data = Literal['fashion_mnist', 'cifar10']


def config(algorithm: dict, data: Data, labels: int | None):
    """The config of one algorithm; labels: total number, None for that in DATA."""
    of = DATA[data]
    network = dict(
        model=dict(name='wide_resnet', depth=10, width=1),
        optimizer=dict(name='sgd', learning_rate=0.03, warmup_steps=50, weight_decay=5e-4),
    )
    networks = dict(student=network)
    if algorithm['name'] == 'mpl':
        networks['teacher'] = network
    if algorithm['name'] == 'reduced_mpl':
        networks['teacher'] = network | dict(model=dict(name='mlp', widths=(32,), init=0.01))
    unlabeled = 0 if algorithm['name'] == 'supervised' else 32
    return ml_collections.ConfigDict(
        dict(
            seed=0,
            steps=600,
            source=dict(name='tfds', dataset=data, data_dir=None),
            split=dict(
                labels=recipes.count(of['labels'] if labels is None else labels), validation=1000
            ),
            batch=dict(labeled=8, unlabeled=unlabeled, evaluate=500),
            views=dict(
                name='images',
                mean=of['mean'],
                std=of['std'],
                weak=dict(mirror=True, shift=of['shift']),
                strong=dict(name='randaugment', scale='rising', cutout=of['cutout']),
                strong_geometry='own',
            ),
            networks=networks,
            algorithm=algorithm | dict(ema_decay=0.99),
            every=dict(log=50, evaluate=300, save=300),
        )
    )


def method(name: str, data: Data = 'fashion_mnist', labels: int | None = None):
    """The method of this name in ALGORITHMS."""
    chosen = config(ALGORITHMS[name], data, labels)
    if name not in TEACHERS:
        return chosen
    teacher = config(ALGORITHMS[TEACHERS[name]], data, labels)
    if name != 'noisy_student':
        chosen.teacher = dict(config=teacher.to_dict())
        return chosen
    chosen.views.labeled = 'strong'  # One round, with its noise.
    chosen.networks.student.model.dropout = 0.5
    return noisy_student.rounds(teacher, chosen, 1, per_class=5000)


def mpl(
    data: Data = 'fashion_mnist',
    labels: int | None = None,
    feedback: Literal['exact', 'off', 'per_example'] = 'exact',
):
    return config(MPL | dict(feedback=feedback) | FEEDBACK[feedback], data, labels)


METHODS = {name: partial(method, name) for name in ALGORITHMS} | {'mpl': mpl}

# Test accuracy (%) of the student on Fashion-MNIST with 200 and CIFAR-10 with 1,000 labels, 3 seeds.
RESULTS = {
    'supervised': ('69.7 ± 3.9', '36.4 ± 2.3'),
    'pseudo_label': ('71.5 ± 2.3', '35.8 ± 1.1'),
    'pi_model': ('71.0 ± 2.0', '34.8 ± 1.0'),
    'temporal_ensembling': ('71.5 ± 1.4', '35.1 ± 1.7'),
    'mean_teacher': ('70.1 ± 3.4', '36.4 ± 0.2'),
    'vat': ('70.5 ± 1.9', '32.0 ± 1.0'),
    'uda': ('70.8 ± 1.7', '35.6 ± 1.4'),
    'fixmatch': ('68.1 ± 3.2', '35.5 ± 2.2'),
    'flexmatch': ('70.3 ± 2.8', '24.7 ± 3.1'),
    'freematch': ('70.0 ± 2.6', '28.3 ± 1.1'),
    'softmatch': ('71.0 ± 1.6', '26.5 ± 1.7'),
    'mpl': ('64.5 ± 1.2', '28.2 ± 1.2'),
    'mpl,feedback=off': ('64.3 ± 1.3', '28.9 ± 1.7'),
    'mpl,feedback=per_example': ('62.3 ± 2.1', '26.2 ± 1.3'),
    'noisy_student': ('66.1 ± 1.1', '29.9 ± 2.4'),
    'distill': ('71.4 ± 0.2', '37.6 ± 0.9'),
    'reduced_mpl': ('68.6 ± 0.4', '31.4 ± 1.6'),
}
RECIPES = [
    Recipe(
        arguments + ('' if data == 'fashion_mnist' else f',data={data}'),
        'of configs/digits.py, untuned for this set',
        result=f'{results[place]} %',
    )
    for place, data in enumerate(DATA)
    for arguments, results in RESULTS.items()
]
