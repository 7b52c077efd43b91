"""All labels of ImageNet with EfficientNet-B7, L2 and B6-Wide: the largest runs of the paper.

    python -m mpl.train --config=configs/imagenet_efficientnet.py:supervised,network=b7 --workdir=runs/b7
    python -m mpl.train --config=configs/imagenet_efficientnet.py:mpl,network=l2,group=16 --workdir=runs/l2
    python -m mpl.plan --config=configs/imagenet_efficientnet.py:mpl,network=l2,group=16 --topology=v3:32x32

The last prints the memory and time per chip of a slice that the second takes, without any TPU.

`mpl` has unlabeled images of another set, as in configs/imagenet.py. Those of the paper are the 130
million of JFT-300M that Noisy Student selected by confidence, with repeats in smaller classes. From
section 4: 512 pixels; 2,048 labeled and 16,384 unlabeled images in each of 1,000,000 steps; 20,000
steps of fine-tuning; sampled labels; 2,048 cores in 128 groups of 16, over which the columns of each
image are sharded (group=16). From section 3.3: 25,000 held-out labeled images, the rate of fine-tuning.
Optimizer, average and noise are those of configs/noisy_student.py, with a longer schedule; the
teacher's losses are those of configs/paper.py, recalled, since the paper's were not available. Not from
the paper: only the inputs of blocks are kept for the backward pass (remat), and equal blocks are one
loop (scan). B6-Wide has 316.6 M parameters with the paper's width and depth; the paper states 390 M.
"""

from typing import Literal

from . import imagenet, noisy_student, paper, recipes
from .recipes import Recipe


def supervised(network: Literal['b7', 'l2', 'b6_wide'] = 'b7'):
    data = _data(network, noisy_student.SIZES[network])
    data['views'] |= dict(labeled='strong')
    return recipes.config(
        data,
        dict(name='supervised') | noisy_student.COMMON,
        dict(student=noisy_student.rmsprop(noisy_student.STEPS, 4096)),
        noisy_student.STEPS,
        4096,
        dropout=dict(student=0.5),
    )


def mpl(network: Literal['l2', 'b6_wide'] = 'l2', unlabeled: str = 'my_pictures', group: int = 1):
    """Section 4 of the paper.

    Args:
      network: the variant of EfficientNet.
      unlabeled: name of the set of unlabeled images.
      group: devices over which the columns of each image, and the weights, are sharded.
    """
    steps, labeled = 1_000_000, 2048
    roles = ('teacher', 'student')
    config = recipes.config(
        _data(network, 512, unlabeled, 25_000),
        dict(
            name='mpl',
            feedback='cosine',
            labels='sampled',
            uda_weight=16.0,
            uda_temperature=0.75,
            uda_threshold=paper.UDA_THRESHOLD,
            target_pass='joined',
        )
        | noisy_student.COMMON,
        dict.fromkeys(roles, noisy_student.rmsprop(steps, labeled)),
        steps,
        labeled,
        16_384,
        dict.fromkeys(roles, 0.5),
        paper.LONG_FINETUNE | dict(steps=20_000),
    )
    if group > 1:
        config.mesh = dict(model=group, weights='model')
    return config


METHODS = {'supervised': supervised, 'mpl': mpl}


def _data(variant, size, unlabeled='', held_out=0):
    model = dict(
        name='efficientnet',
        variant=variant,
        stochastic_depth=0.2,
        dtype='bfloat16',
        remat=True,
        scan=True,
    )
    data = imagenet.data('all', unlabeled, held_out, model, size, magnitude=27.0)
    data['views']['strong'] |= dict(operations=noisy_student.OPERATIONS)
    return data


SECTION = (
    'batches, steps and size of section 4; configs/noisy_student.py; losses of configs/paper.py'
)
RECIPES = [
    Recipe(
        'supervised',
        'configs/noisy_student.py',
        '85.0 % top-1, 97.2 % top-5 (MPL paper, table 4)',
    ),
    Recipe(
        'supervised,network=l2',
        'configs/noisy_student.py',
        '85.5 % top-1, 97.5 % top-5 (MPL paper, table 4)',
    ),
    Recipe('supervised,network=b6_wide', 'configs/noisy_student.py'),
    Recipe(
        'mpl',
        SECTION,
        '90.2 % top-1, 98.8 % top-5 (table 4, with JFT, 11 days on 2,048 TPU v3 cores)',
    ),
    Recipe(
        'mpl,group=16',
        SECTION,
        '90.2 % top-1, 98.8 % top-5 (table 4, with JFT, 11 days on 2,048 TPU v3 cores)',
    ),
    Recipe(
        'mpl,network=b6_wide',
        SECTION,
        '90.0 % top-1, 98.7 % top-5 (table 4, with JFT, 10 days on 2,048 TPU v3 cores)',
    ),
]
