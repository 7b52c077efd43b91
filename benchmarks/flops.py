"""FLOPs counted by hand, from the sizes of layers, to hold against what XLA counts."""

import math

import jax
from flax import linen as nn

from mpl.run import config as configs
from mpl.run.experiment import Experiment


def count_exact(experiment: Experiment) -> int:
    """FLOPs of a step of MPL with exact feedback, from the sizes of convolutions and linear layers.

    A pass forward costs F per image; its transpose, and its product with a tangent, 2 F. XLA
    counts what lies between the layers too, and leaves out the gradient towards the image.
    """
    config = experiment.config
    image = experiment.batch['labeled']['image']
    forward = {
        role: count_forward(
            configs.build('models', net.model, num_classes=len(experiment.source.classes)),
            jax.ShapeDtypeStruct((1, *image.shape[1:]), image.dtype),
        )
        for role, net in config.networks.items()
    }
    labeled, unlabeled = config.batch.labeled, config.batch.unlabeled
    return forward['teacher'] * 3 * (labeled + 2 * unlabeled) + forward['student'] * (
        3 * labeled + 5 * unlabeled
    )


def count_forward(model: nn.Module, image: jax.ShapeDtypeStruct) -> int:
    """FLOPs of one pass forward, without products with the border of zeros around an image."""
    total = 0

    def count(module, args, kwargs, context):
        nonlocal total
        output = module(*args, **kwargs)
        if context.module.has_variable('params', 'kernel'):
            kernel = context.module.get_variable('params', 'kernel')
            taps = map(_taps, args[0].shape[1:-1], output.shape[1:-1], kernel.shape[:-2])
            total += 2 * math.prod(kernel.shape[-2:]) * math.prod(taps)
        return output

    with nn.intercept_methods(count):
        jax.eval_shape(lambda image: model.init(jax.random.key(0), image, train=False), image)
    return total


def _taps(size, outputs, kernel):
    """Products along an axis of a SAME convolution, those with zeros left out."""
    stride = -(-size // outputs)
    before = max((outputs - 1) * stride + kernel - size, 0) // 2
    return sum(
        0 <= place * stride + tap - before < size
        for place in range(outputs)
        for tap in range(kernel)
    )
