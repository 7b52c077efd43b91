"""FLOPs of the networks and methods of configs/laptop.py, and the steps that a budget pays.

FLOPs are those of convolutions and matrix products, forward and backward, with products with padding
(mpl/run/flops.py). A test holds FORWARD against the models, COSTS against the compiled steps.
"""

import math
from typing import Literal

Data = Literal['cifar10', 'fashion_mnist', 'mnist']
Model = Literal['fast_cnn', 'fast_cnn_16', 'fast_cnn_64', 'cnn', 'wrn_10_1', 'wrn_16_2']
Size = Literal[0, 24]  # pixels
# Pixels of a side, and colors.
SHAPES = {'cifar10': (32, 3), 'fashion_mnist': (28, 1), 'mnist': (28, 1)}
# FLOPs of a model forward for one image, by its shape; jigsaw's tiles have 12 and 10 pixels.
FORWARD = {
    'fast_cnn': {
        (32, 3): 80_808_448,
        (24, 3): 45_455_872,
        (12, 3): 10_997_248,
        (28, 1): 53_284_352,
        (24, 1): 39_852_544,
        (10, 1): 5_427_968,
    },
    'fast_cnn_16': {
        (32, 3): 24_184_064,
        (24, 3): 13_604_096,
        (12, 3): 3_309_824,
        (28, 1): 14_262_528,
        (24, 1): 10_654_976,
        (10, 1): 1_477_632,
    },
    'fast_cnn_64': {
        (32, 3): 293_147_648,
        (24, 3): 164_897_792,
        (12, 3): 39_753_728,
        (28, 1): 205_756_416,
        (24, 1): 153_986_048,
        (10, 1): 20_765_952,
    },
    'cnn': {
        (32, 3): 3_171_584,
        (24, 3): 1_784_576,
        (12, 3): 447_104,
        (28, 1): 2_315_648,
        (24, 1): 1_701_632,
        (10, 1): 423_200,
    },
    'wrn_10_1': {
        (32, 3): 25_003_264,
        (24, 3): 14_064_896,
        (12, 3): 3_517_184,
        (28, 1): 18_691_840,
        (24, 1): 13_733_120,
        (10, 1): 2_700_672,
    },
    'wrn_16_2': {
        (32, 3): 202_213_888,
        (24, 3): 113_746_432,
        (12, 3): 28_438_528,
        (28, 1): 154_369_024,
        (24, 1): 113_414_656,
        (10, 1): 22_575_744,
    },
}
LABELED = dict.fromkeys(FORWARD, 64) | {'cnn': 32}  # images per step
RATIO = 2  # of unlabeled to labeled images
# Of each method with its arguments: passes over one labeled and over one unlabeled image in a step, in
# passes forward; a pass backward costs two, and views that only give targets have none.
COSTS = {
    'supervised': (3, 0),
    'pseudo_label': (3, 3),
    'mean_teacher': (3, 4),
    'uda': (3, 4),
    'fixmatch': (3, 4),
    'flexmatch': (3, 4),
    'freematch': (3, 4),
    'softmatch': (3, 4),
    'mpl': (6, 11),
    'mpl,feedback=off': (4, 7),
    'mpl,student_labels=on': (11, 11),
    'mpl,feedback=off,student_labels=on': (7, 7),
}


def count_steps(budget: float, method: str, data: Data, model: Model, size: Size = 0) -> int:
    """Steps of a method in COSTS, as `steps_of`."""
    labeled, unlabeled = COSTS[method]
    return steps_of(budget, (labeled + RATIO * unlabeled) * LABELED[model], data, model, size)


def steps_of(budget: float, passes: int, data: Data, model: Model, size: Size = 0) -> int:
    """Steps of so many passes forward of an image for the budget in FLOPs, a multiple of 10.

    Raises:
      ValueError: the budget is no finite number above 0, or pays fewer than five steps.
    """
    if not 0 < budget < math.inf:
        raise ValueError(f'A stage has {budget:.3g} FLOPs; give a finite number above 0.')
    ten = 10 * passes * forward(model, data, size)
    if budget < ten / 2:
        raise ValueError(
            f'A stage has {budget:.3g} FLOPs, and ten steps of it take {ten:.3g}; give a larger budget.'
        )
    return round(budget / ten) * 10


def forward(model: Model, data: Data, size: int = 0) -> int:
    """FLOPs of a model forward for one image of `size` pixels along each axis; 0 for those of the data."""
    side, colors = SHAPES[data]
    return FORWARD[model][size or side, colors]
