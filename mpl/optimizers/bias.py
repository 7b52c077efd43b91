"""A learning rate of its own for biases."""

import jax
import optax


def scale(optimizer: optax.GradientTransformation, rate: float) -> optax.GradientTransformation:
    """The optimizer with its updates of parameters named 'bias' multiplied by `rate`.

    The biases of batch norm without scales are often trained at a higher rate than kernels
    (arXiv 2404.00498, appendix A).
    """
    if rate == 1:
        return optimizer
    return optax.chain(optimizer, optax.masked(optax.scale(rate), _biases))


def _biases(params):
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == 'bias', params
    )
