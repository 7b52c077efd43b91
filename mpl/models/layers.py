"""Common parts of models: activations, initializers, dropout, the head, checks of arguments."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

ACTIVATIONS = {
    'relu': jax.nn.relu,
    'leaky_relu': partial(jax.nn.leaky_relu, negative_slope=0.2),
    'elu': jax.nn.elu,
    'gelu': jax.nn.gelu,
    'swish': jax.nn.swish,
    'sigmoid': jax.nn.sigmoid,
    'tanh': jnp.tanh,
}

# Untruncated normal of standard deviation sqrt(2 / (k * k * c_out)), as in the released MPL code.
conv_init = nn.initializers.variance_scaling(2.0, 'fan_out', 'normal')


def uniform_init(limit):
    """An initializer that draws from U(-limit, limit)."""

    def init(key, shape, dtype=jnp.float32):
        return jax.random.uniform(key, shape, dtype, -limit, limit)

    return init


def dropout(x, rate, train):
    """Dropout (arXiv 1207.0580): in training, each value of x is 0 at `rate`, else scaled up."""
    return nn.Dropout(rate)(x, deterministic=not train)


def drop_branch(x, rate, train):
    """Stochastic depth (arXiv 1603.09382): in training, each example of x is 0 at `rate`, else scaled up."""
    every_axis = tuple(range(1, x.ndim))
    return nn.Dropout(rate, broadcast_dims=every_axis)(x, deterministic=not train)


@contextlib.contextmanager
def always_dropout() -> Iterator[None]:
    """`dropout` of all models that are called is that of training; nothing else is."""

    def drop(call, args, kwargs, context):
        layer = context.module
        if isinstance(layer, nn.Dropout) and not layer.broadcast_dims:
            kwargs = kwargs | {'deterministic': False}
        return call(*args, **kwargs)

    with nn.intercept_methods(drop):
        yield


class Head(nn.Module):
    """Linear classifier in float32 or wider; the default kernel is from U(+-1/sqrt(num_classes))."""

    num_classes: int
    kernel_init: Callable | None = None

    @nn.compact
    def __call__(self, features):
        init = self.kernel_init or uniform_init(self.num_classes**-0.5)
        return nn.Dense(self.num_classes, kernel_init=init, name='dense')(widen(features))


def widen(x):
    """Promotes narrower types to float32; float64 stays."""
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def unit(x, axis=-1):
    """Vectors along an axis at length 1; those shorter than 1e-6 become 0, without a derivative."""
    square = jnp.sum(x * x, axis, keepdims=True)
    short = square < 1e-12  # The derivative is the inverse of the length.
    return x * jnp.where(short, 0, jax.lax.rsqrt(jnp.where(short, 1, square)))


def check_classes(num_classes):
    if num_classes < 2:
        raise ValueError(f'num_classes={num_classes}: a classifier needs at least 2 classes.')


def check_choice(name, value, allowed):
    if value not in allowed:
        raise ValueError(
            f'{name}={value!r} is not known: choose one of {", ".join(map(repr, allowed))}.'
        )


def check_rate(name, value):
    if not 0 <= value < 1:
        raise ValueError(f'{name}={value}: give a rate of at least 0 and below 1.')


def check_widths(name, values):
    if not values or not all(type(value) is int and value >= 1 for value in values):
        raise ValueError(f'{name}={tuple(values)}: give at least one whole number, each 1 or more.')
