"""Self-supervised training on CIFAR-10 with a ResNet-18, for accelerators.

    python -m mpl.train --config=configs/cifar10_pretrain.py:simclr --workdir=runs/cifar10_simclr
    python -m mpl.train --config=configs/cifar10_pretrain.py:moco,labels=4000 --workdir=runs/cifar10_moco

The data are prepared as in configs/cifar10.py. All 50,000 images are unlabeled, and `labels` of
them train the online probe. Pretext tasks have one view of each image, the others two. One epoch with
two views costs about 3.3e14 FLOPs, so a run of 1,000 epochs takes hours on a GPU. Published figures are
of different protocols (each is named) and most are the best epoch on test.
"""

from functools import partial

import ml_collections

from . import cifar10, pretraining, recipes
from .recipes import Labels, Recipe

IMAGES, BATCH = 50_000, 512
# As torch's, of which all sources are.
TORCH = dict(padding='symmetric', norm_epsilon=1e-5, norm_decay=0.9)
RESNET18 = dict(name='resnet', depth=18, stem='cifar', dtype='bfloat16') | TORCH
EPOCHS = dict.fromkeys(('moco', 'byol', 'simsiam', 'barlow_twins', 'dino'), 800)
EPOCHS |= dict.fromkeys(('simclr', 'moco_v3', 'moby', 'vicreg', 'supcon'), 1000)
# Rate of SGD for 512 images, and epochs of warm-up. Weight decay is 5e-4.
RATES = dict.fromkeys(EPOCHS, (0.24, 10)) | {
    'simclr': (0.06, 0),
    'moco': (0.06, 0),
    'simsiam': (0.06, 10),
    'supcon': (0.06, 0),
}
ALGORITHMS = {
    'simclr': dict(temperature=0.5),
    'moco': dict(queue=4096, temperature=0.1),
    'moco_v3': dict(temperature=0.2),
    'byol': dict(),
    'simsiam': dict(),
    'moby': dict(queue=4096, temperature=0.2),
    'vicreg': dict(),
    'barlow_twins': dict(),
    'dino': dict(),
    'supcon': dict(temperature=0.2),
}
RISING = ('moco_v3', 'moby', 'dino')  # their average's decay rises to 1
HEADS = pretraining.heads(hidden=1024, out=256, wide=2048, prototypes=4096) | {
    'simclr': dict(projector=pretraining.head(1024, 128, norm='none')),
    'moco': dict(projector=pretraining.head(128)),
}
TASKS = pretraining.tasks(hidden=512, side=32, channels=3, model=RESNET18['name'])
# Brightness, contrast, saturation, hue; the probability of gray.
WEAK, ASYMMETRIC = (0.4, 0.4, 0.4, 0.1, 0.2), (0.4, 0.4, 0.2, 0.1, 0.2)
COLORS = dict.fromkeys(EPOCHS, WEAK) | dict.fromkeys(
    ('moco_v3', 'byol', 'moby', 'vicreg', 'barlow_twins', 'dino'), ASYMMETRIC
)
COLORS['simclr'] = (0.4, 0.4, 0.4, 0.1, 0.1)


def colors(brightness, contrast, saturation, hue, gray, solarized=0.0, blurred=0.0) -> dict:
    """The policy of one view."""
    return dict(
        name='color',
        brightness=brightness,
        contrast=contrast,
        saturation=saturation,
        hue=hue,
        grayscale=gray,
        blurred=blurred,
        solarized=solarized,
    )


def method(name: str, labels: Labels = 'all'):
    """One of ALGORITHMS."""
    steps = EPOCHS[name] * IMAGES // BATCH // 100 * 100
    rate, warmup = RATES[name]
    optimizer = dict(
        name='sgd',
        learning_rate=rate,
        warmup_steps=warmup * IMAGES // BATCH,
        weight_decay=5e-4,
        nesterov=False,
    )
    area = (0.2, 1.0) if name in ('simclr', 'simsiam') else (0.08, 1.0)
    second = colors(*COLORS[name], solarized=0.2) if COLORS[name] == ASYMMETRIC else None
    rising = dict(ema_steps=steps) if name in RISING else {}
    return ml_collections.ConfigDict(
        dict(
            steps=steps,
            source=dict(name='tfds', dataset='cifar10'),
            split=dict(labels=recipes.count(labels)),
            batch=dict(labeled=BATCH, unlabeled=BATCH, evaluate=1024),
            views=dict(
                name='pairs',
                mean=cifar10.MEAN,
                std=cifar10.STD,
                size=32,
                area=area,
                first=colors(*COLORS[name]),
                second=second,
                labeled=pretraining.labeled_view(name),
            ),
            networks=pretraining.networks(RESNET18, optimizer, HEADS[name]),
            algorithm=dict(name=name) | ALGORITHMS[name] | rising,
            every=dict(log=100, evaluate=5000, save=5000),
        )
    )


def pretext(task: str, labels: Labels = 'all'):
    """One of TASKS: 200 epochs of 128 images, flipped and cut from at least half of the picture."""
    rule, heads = TASKS[task]
    chosen = method('simclr', labels).to_dict()
    optimizer = dict(name='sgd', learning_rate=0.1, weight_decay=5e-4)
    given = dict(mean=cifar10.MEAN, std=cifar10.STD, size=32, area=(0.5, 1.0))
    chosen |= dict(
        steps=200 * IMAGES // 128 // 100 * 100,
        batch=dict(labeled=128, unlabeled=128, evaluate=1024),
        views=pretraining.task_views(task, dict(name='identity'), **given),
        networks=pretraining.networks(RESNET18, optimizer, heads),
        algorithm=dict(name=task) | rule,
    )
    return ml_collections.ConfigDict(chosen)


METHODS = {name: partial(method, name) for name in ALGORITHMS} | {
    task: partial(pretext, task) for task in TASKS
}
KNN = 'k-NN, the best epoch on test (lightly, batch 512, 800 epochs)'
LINEAR = 'online linear probe, 1,000 epochs with LARC and other heads (solo-learn)'
RECIPES = [
    Recipe(
        'simclr',
        'dkobak/simclr-cifar10, SGD at batch 512; images are standardized and both views are one pass, unlike there',
        f'91.7 % linear, 91.4 % k-NN (dkobak/simclr-cifar10); 90.74 % {LINEAR}',
    ),
    Recipe(
        'moco',
        "the demo of MoCo's released code, one direction, keys by EMAN instead of split batch norm",
        '88.7 % k-NN after 800 epochs (that demo); with both directions 89.7 % k-NN, 90.7 % linear',
    ),
    Recipe('moco_v3', 'rate, decay and batch as `byol`; temperature and colors of solo-learn', f'93.10 % {LINEAR}'),
    Recipe('byol', 'lightly: rate 0.06 for 128 images, decay 0.99', f'91.0 % {KNN}; 92.58 % {LINEAR}'),
    Recipe(
        'simsiam',
        'arXiv 2011.10566, appendix D, as quoted by PatrickHua/SimSiam',
        '91.8 % linear (paper), 90.8 % (PatrickHua/SimSiam)',
    ),
    Recipe('moby', 'rate and decay as `byol`; temperature and queue of its released code'),
    Recipe('vicreg', 'rate, decay and batch as `byol`; heads and colors of solo-learn, the loss of the paper', f'92.07 % {LINEAR}'),
    Recipe('barlow_twins', 'lightly: rate 0.06 for 128 images', f'85.9 % {KNN}; 92.10 % {LINEAR}'),
    Recipe('dino', 'lightly: rate 0.06 for 128 images', f'84.8 % {KNN}; 89.52 % {LINEAR}'),
    Recipe(
        'supcon',
        'optimizer of `simclr`, projector of `byol`, views of `moco`; temperature of solo-learn',
        'with two views of each labeled image and all labels 93.82 % (solo-learn)',
    ),
    Recipe(
        'rotation',
        'RotNet (arXiv 1803.07728): rate, decay, epochs, with a cosine instead of steps',
        '89.1 % by three layers on block 2 of a network-in-network, 91.2 % by convolutions',
    ),
    *(Recipe(task, 'as `rotation`, of no source') for task in TASKS if task != 'rotation'),
]  # fmt: skip
