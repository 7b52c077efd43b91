"""A lower learning rate for the backbone of a network: all layers but those named 'head'."""

from typing import Any

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
        return optax.partition({'head': optimizer, 'backbone': optax.stateless(stay)}, _part)
    rates = optax.partition({'head': optax.identity(), 'backbone': optax.scale(rate)}, _part)
    return optax.chain(optimizer, rates)


def with_probe(
    optimizer: optax.GradientTransformation, rate: float
) -> optax.GradientTransformation:
    """The optimizer for all but the head, which has SGD with momentum 0.9 at a constant rate.

    For a head that is a probe of the features: the two share no state and no clipped norm.
    """
    probe = optax.sgd(rate, momentum=0.9)
    return optax.partition({'head': probe, 'backbone': optimizer}, _part)


def stay(changes: Any, params: Any) -> Any:
    """Updates that change nothing."""
    # Not 0.0: adding -0.0 keeps the bits of every number, -0.0 included.
    return jax.tree.map(lambda change: jnp.full_like(change, -0.0), changes)


def _part(params):
    if 'head' not in params:
        raise ValueError(
            'optimizer: backbone_rate and an online probe are for a network whose last layer is named '
            f"'head', and this one has {', '.join(params)}; set backbone_rate to 1, batch.labeled to 0."
        )
    return {name: 'head' if name == 'head' else 'backbone' for name in params}
