"""A learning rate of its own for biases."""

import functools

import optax

from mpl.optimizers import decay


def scale(optimizer: optax.GradientTransformation, rate: float) -> optax.GradientTransformation:
    """The optimizer with its updates of parameters named 'bias' multiplied by `rate`.

    The biases of batch norm without scales are often trained at a higher rate than kernels
    (arXiv 2404.00498, appendix A).
    """
    if rate == 1:
        return optimizer
    biases = functools.partial(decay.named, name='bias')
    return optax.chain(optimizer, optax.masked(optax.scale(rate), biases))
