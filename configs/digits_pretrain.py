"""Self-supervised training on the handwritten digits, with an online probe on few labels.

    python -m mpl.train --config=configs/digits_pretrain.py:simclr --workdir=runs/digits_simclr
    python -m mpl.train --config=configs/digits_pretrain.py:simsiam,labels=100 --workdir=runs/digits_simsiam

Data and split are those of configs/digits.py; the views are two draws of its strong view. The
accuracy is that of a linear classifier on fixed features, trained beside them on the labels, but
for `supcon` and `mobyv2al`, whose features are trained by labels too. With --config.batch.labeled=0
no label is used.
"""

from functools import partial

import ml_collections

from . import digits, pretraining
from .recipes import Labels, Recipe

ALGORITHMS = {
    'simclr': dict(temperature=0.2),
    'moco': dict(queue=896, temperature=0.2),
    'moco_v3': dict(temperature=0.2),
    'byol': dict(),
    'simsiam': dict(),
    'moby': dict(queue=896, temperature=0.2),
    'vicreg': dict(),
    'barlow_twins': dict(),
    'dino': dict(ema_decay=0.99),
    'supcon': dict(temperature=0.2),
    'mobyv2al': dict(queue=896, temperature=0.2),
}
HEADS = pretraining.heads(hidden=128, out=64, wide=128, prototypes=64, key_norm='plain')


def method(name: str, labels: Labels = 40):
    """One of ALGORITHMS."""
    data = digits.config(labels, dict(name='supervised')).to_dict()
    views = data['views']
    data['views'] = dict(
        name='pairs',
        mean=views['mean'],
        std=views['std'],
        mirror=False,
        first=views['strong'],
        labeled=pretraining.labeled_view(name),
    )
    if name == 'mobyv2al':
        data['views'] |= dict(first=dict(name='identity'), second=views['strong'])
    data['batch'] |= dict(labeled=64, unlabeled=128)
    network = data['networks']['student']
    model = network['model'] | dict(pool='mean', norm_decay=0.9)
    data['networks'] = pretraining.networks(model, network['optimizer'], HEADS[name])
    data['algorithm'] = dict(name=name) | ALGORITHMS[name]
    return ml_collections.ConfigDict(data)


METHODS = {name: partial(method, name) for name in ALGORITHMS}
RECIPES = [Recipe(name, 'not tuned; optimizer of configs/digits.py') for name in METHODS]
