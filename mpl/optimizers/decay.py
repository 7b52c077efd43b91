"""Which parameters weight decay acts on."""

import jax


def weights(params):
    """True for kernels, False for biases and norms, which have fewer than two axes."""
    return jax.tree.map(lambda leaf: leaf.ndim > 1, params)
