"""Self-supervised training of a ResNet-50 on ImageNet, for accelerators.

    python -m mpl.train --config=configs/imagenet_pretrain.py:simclr --workdir=runs/imagenet_simclr
    python -m mpl.train --config=configs/imagenet_pretrain.py:byol,labels=10% --workdir=runs/imagenet_byol

The data are those of configs/imagenet.py. Every view is a crop of its own of the picture on disk,
which is decoded once for each. `labels` train the online probe. The hyperparameters are those of
the papers' released codes, where a recipe names no difference; published figures are of a linear classifier trained afterwards on all
labels.
"""

from functools import partial

import ml_collections

from . import imagenet, pretraining
from .cifar10_pretrain import TORCH, colors
from .imagenet import Labels
from .pretraining import head
from .recipes import Recipe

IMAGES = 1_281_167
LARS, SGD = 'lars', 'sgd'
# Of each method: optimizer, rate for 256 images, weight decay, epochs, of which warm-up, and batch.
TRAINING = {
    'simclr': (LARS, 0.3, 0.5e-4, 1000, 10, 4096),  # see BIAS_RATES
    'moco': (SGD, 0.03, 1e-4, 800, 0, 256),
    'moco_v3': (LARS, 0.3, 1.5e-6, 1000, 10, 4096),
    'byol': (LARS, 0.2, 1.5e-6, 1000, 10, 4096),
    'simsiam': (SGD, 0.05, 1e-4, 100, 0, 512),
    'vicreg': (LARS, 0.2, 1e-6, 1000, 10, 2048),
    'barlow_twins': (LARS, 0.2, 1e-6, 1000, 10, 2048),
    'dino': (SGD, 0.03, 1e-4, 100, 10, 512),
    'rotation': (SGD, 0.4, 1e-4, 70, 0, 128),
}
# Factors of the rate of biases and norms: Barlow Twins' own; SimCLR's code has twice the loss here, for which half
# of its weight decay of 1e-4 and this factor make the same updates by LARS.
BIAS_RATES = {'simclr': 2.0, 'barlow_twins': 0.0048 / 0.2}
ZERO_INIT = ('simclr', 'moco_v3', 'byol', 'simsiam', 'vicreg', 'barlow_twins')
# Of the average: decay at first, and whether it rises to 1.
AVERAGES = {
    'moco': (0.999, False),
    'moco_v3': (0.996, True),
    'byol': (0.996, True),
    'dino': (0.996, True),
}
ALGORITHMS = {
    'simclr': dict(temperature=0.1),
    'moco': dict(queue=65_536, temperature=0.2),
    'moco_v3': dict(temperature=1.0),
    'byol': dict(),
    'simsiam': dict(),
    'vicreg': dict(),
    'barlow_twins': dict(),
    'dino': dict(),
    'rotation': dict(),
}
HEADS = pretraining.heads(hidden=4096, out=256, wide=8192, prototypes=65_536) | {
    'simclr': dict(projector=head(2048, 128, last_norm='scale')),
    'moco': dict(projector=head(2048, 128, norm='none')),
    'byol': dict.fromkeys(('projector', 'predictor'), head(4096, 256, last_bias=False)),
    'simsiam': dict(projector=head(2048, 2048, 2048, last_norm='plain'), predictor=head(512, 2048)),
    'dino': dict(
        projector=head(2048, 2048, 256, activation='gelu', norm='none', prototypes=65_536)
    ),
    'rotation': dict(classifier=head(4)),
}
# Brightness, contrast, saturation, hue; the probability of gray; the smallest crop's area.
SYMMETRIC = {
    'simclr': ((0.8, 0.8, 0.8, 0.2, 0.2), 0.08),
    'moco': ((0.4, 0.4, 0.4, 0.1, 0.2), 0.2),
    'simsiam': ((0.4, 0.4, 0.4, 0.1, 0.2), 0.2),
}
ASYMMETRIC, AREAS = (0.4, 0.4, 0.2, 0.1, 0.2), {'moco_v3': 0.2, 'dino': 0.14}


def views(name: str) -> dict:
    """The pairs of a method; DINO has 8 small crops too, rotation one crop."""
    if name == 'rotation':
        given = dict(mean=imagenet.MEAN, std=imagenet.STD, size=224)
        return pretraining.task_views(name, dict(name='identity'), **given)
    found = dict(name='pairs', mean=imagenet.MEAN, std=imagenet.STD, size=224)
    if name in SYMMETRIC:
        strength, area = SYMMETRIC[name]
        if name == 'simclr':  # Pixels from 0 to 1.
            found |= dict(mean=0.0, std=255.0)
        return found | dict(area=(area, 1.0), first=colors(*strength, blurred=0.5))
    found |= dict(
        area=(AREAS[name] if name in AREAS else 0.08, 1.0),
        first=colors(*ASYMMETRIC, blurred=1.0),
        second=colors(*ASYMMETRIC, blurred=0.1, solarized=0.2),
    )
    if name == 'dino':
        small = colors(*ASYMMETRIC, blurred=0.5)
        found |= dict(small=small, small_parts=8, small_size=96, small_area=(0.05, 0.14))
    return found


def method(name: str, labels: Labels = 'all'):
    """One of ALGORITHMS."""
    kind, rate, decay, epochs, warmup, batch = TRAINING[name]
    steps, algorithm = epochs * IMAGES // batch // 100 * 100, dict(name=name) | ALGORITHMS[name]
    optimizer = dict(
        name=kind,
        learning_rate=rate * batch / 256,
        warmup_steps=warmup * IMAGES // batch,
        weight_decay=decay,
    )
    if kind == SGD:
        optimizer['nesterov'] = False
    if name in BIAS_RATES:
        optimizer['bias_rate'] = BIAS_RATES[name]
    if name in AVERAGES:
        start, rises = AVERAGES[name]
        algorithm |= dict(ema_decay=start, ema_steps=steps if rises else 0)
    if name == 'dino':
        algorithm['freeze_steps'] = IMAGES // batch
    model = imagenet.RESNET50 | TORCH | dict(zero_init=name in ZERO_INIT)
    if name == 'byol':
        model['padding'] = 'same'  # of Haiku
    data = imagenet.data(labels)
    del data['model']
    data['views'] = views(name)
    return ml_collections.ConfigDict(
        data
        | dict(
            steps=steps,
            batch=dict(labeled=256, unlabeled=batch, evaluate=1024),
            networks=pretraining.networks(model, optimizer, HEADS[name]),
            algorithm=algorithm,
            every=dict(log=100, evaluate=5000, save=5000),
        )
    )


METHODS = {name: partial(method, name) for name in ALGORITHMS}
RECIPES = [
    Recipe('simclr', 'google-research/simclr', '69.1 % linear'),
    Recipe('moco', 'facebookresearch/moco, version 2, with EMAN; biases and norms are not decayed', '71.1 %, 70.1 % with EMAN, linear'),
    Recipe('moco_v3', 'facebookresearch/moco-v3', '74.6 % linear'),
    Recipe('byol', 'google-deepmind, byol', '74.4 % linear'),
    Recipe('simsiam', 'facebookresearch/simsiam; biases are not decayed', '68.1 % linear'),
    Recipe('vicreg', 'facebookresearch/vicreg', '73.2 % linear'),
    Recipe('barlow_twins', 'facebookresearch/barlowtwins', '73.5 % linear'),
    Recipe(
        'rotation',
        'open-mmlab/mmselfsup, with a cosine instead of steps; biases and norms are not decayed',
        '47.0 % linear, 54.2 % after the third stage',
    ),
    Recipe('dino', 'facebookresearch/dino', '75.3 % linear, by a longer run (recalled)'),
]  # fmt: skip
