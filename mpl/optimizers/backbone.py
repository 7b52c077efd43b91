"""A lower rate for the backbone of a network: all of it but the layers under the name 'head'."""

import jax
import jax.numpy as jnp
import optax


def slow(optimizer: optax.GradientTransformation, rate: float) -> optax.GradientTransformation:
    """The optimizer, with its steps on the backbone times `rate`, those of weight decay included.

    At rate 0 the backbone keeps every bit (but numbers below 1.2e-38, for which XLA takes
    0, become 0), and the optimizer never sees it: it has no state for it, and its
    gradient is no part of a clipped norm. Nothing asks for that gradient, so that a
    compiled step has no backward pass through the backbone.

    Raises:
      ValueError: (by `init`) the parameters have no head at their top level.
    """
    if rate == 1:
        return optimizer
    if rate == 0:
        return optax.partition({'head': optimizer, 'backbone': optax.stateless(_stay)}, _part)
    rates = optax.partition({'head': optax.identity(), 'backbone': optax.scale(rate)}, _part)
    return optax.chain(optimizer, rates)


def _part(params):
    if 'head' not in params:
        raise ValueError(
            "optimizer: trunk_rate is for a network whose last layer is named 'head', and this "
            f'one has {", ".join(params)}; set it to 1.'
        )
    return {name: 'head' if name == 'head' else 'backbone' for name in params}


def _stay(changes, params):
    # Not 0.0: -0.0 leaves the bits of every number that it is added to, -0.0 among them.
    return jax.tree.map(lambda change: jnp.full_like(change, -0.0), changes)
