"""FLOPs of the networks and methods of configs/laptop.py, and the steps that a budget pays.

FLOPs are those of convolutions and matrix products, forward and backward, with products with padding
(mpl/run/flops.py). A test holds FORWARD, FORWARD_24 and TILE against the models, COSTS against the compiled steps.
"""

from typing import Literal

Data = Literal['cifar10', 'fashion_mnist', 'mnist']
Model = Literal['fast_cnn', 'fast_cnn_16', 'fast_cnn_64', 'cnn', 'wrn_10_1', 'wrn_16_2']
Size = Literal[0, 24]  # pixels
# FLOPs of a model forward for one image.
FORWARD = {
    'fast_cnn': {'cifar10': 80_808_448, 'fashion_mnist': 53_284_352, 'mnist': 53_284_352},
    'fast_cnn_16': {'cifar10': 24_184_064, 'fashion_mnist': 14_262_528, 'mnist': 14_262_528},
    'fast_cnn_64': {
        'cifar10': 293_147_648,
        'fashion_mnist': 205_756_416,
        'mnist': 205_756_416,
    },
    'cnn': {'cifar10': 3_171_584, 'fashion_mnist': 2_315_648, 'mnist': 2_315_648},
    'wrn_10_1': {'cifar10': 25_003_264, 'fashion_mnist': 18_691_840, 'mnist': 18_691_840},
    'wrn_16_2': {'cifar10': 202_213_888, 'fashion_mnist': 154_369_024, 'mnist': 154_369_024},
}
FORWARD_24 = {  # with images of 24 pixels
    'fast_cnn': {'cifar10': 45_455_872, 'fashion_mnist': 39_852_544, 'mnist': 39_852_544},
    'fast_cnn_16': {'cifar10': 13_604_096, 'fashion_mnist': 10_654_976, 'mnist': 10_654_976},
    'fast_cnn_64': {
        'cifar10': 164_897_792,
        'fashion_mnist': 153_986_048,
        'mnist': 153_986_048,
    },
    'cnn': {'cifar10': 1_784_576, 'fashion_mnist': 1_701_632, 'mnist': 1_701_632},
    'wrn_10_1': {'cifar10': 14_064_896, 'fashion_mnist': 13_733_120, 'mnist': 13_733_120},
    'wrn_16_2': {'cifar10': 113_746_432, 'fashion_mnist': 113_414_656, 'mnist': 113_414_656},
}
# FLOPs of a model forward for one tile of `jigsaw`, of which an image has four.
TILE = {
    'fast_cnn': {'cifar10': 10_997_248, 'fashion_mnist': 5_427_968, 'mnist': 5_427_968},
    'fast_cnn_16': {'cifar10': 3_309_824, 'fashion_mnist': 1_477_632, 'mnist': 1_477_632},
    'fast_cnn_64': {'cifar10': 39_753_728, 'fashion_mnist': 20_765_952, 'mnist': 20_765_952},
    'cnn': {'cifar10': 447_104, 'fashion_mnist': 423_200, 'mnist': 423_200},
    'wrn_10_1': {'cifar10': 3_517_184, 'fashion_mnist': 2_700_672, 'mnist': 2_700_672},
    'wrn_16_2': {'cifar10': 28_438_528, 'fashion_mnist': 22_575_744, 'mnist': 22_575_744},
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
    """Steps of a method in COSTS for the budget in FLOPs, a multiple of 10."""
    labeled, unlabeled = COSTS[method]
    return steps_of(budget, (labeled + RATIO * unlabeled) * LABELED[model], data, model, size)


def steps_of(budget: float, passes: int, data: Data, model: Model, size: Size = 0) -> int:
    """Steps of so many passes forward of an image for the budget in FLOPs, a multiple of 10."""
    forward = (FORWARD_24 if size else FORWARD)[model][data]
    return max(round(budget / (passes * forward) / 10), 1) * 10
