"""A lower learning rate for the backbone of a network: all layers but those named 'head'."""

import jax
import jax.numpy as jnp
import optax


def scale(optimizer: optax.GradientTransformation, rate: float) -> optax.GradientTransformation:
    """The optimizer with its updates of the backbone, weight decay included, multiplied by `rate`.

    At rate 0 the backbone keeps every bit (except denormal numbers below 1.2e-38, which XLA flushes
    to 0). The optimizer then has no state for it, and its gradient is not part of a clipped norm.
    That gradient is not used, so a compiled step has no backward pass through the backbone.

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
    # Not 0.0: adding -0.0 keeps the bits of every number, -0.0 included.
    return jax.tree.map(lambda change: jnp.full_like(change, -0.0), changes)
