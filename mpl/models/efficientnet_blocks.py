"""The blocks of EfficientNet (arXiv 1905.11946)."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from mpl.models import layers
from mpl.models.conv import Conv


class ConvNorm(nn.Module):
    """Convolution, batch norm, swish."""

    epsilon: float
    decay: float
    dtype: str | None
    features: int
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    activate: bool = True

    @nn.compact
    def __call__(self, x, train):
        x = Conv(
            self.features,
            self.kernel,
            self.stride,
            dtype=self.dtype,
            groups=self.groups,
            name='conv',
        )(x)
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.decay,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name='norm',
        )(x)
        return jax.nn.swish(x) if self.activate else x


class Block(nn.Module):
    """MBConv: expansion, depthwise convolution, squeeze and excitation, projection, residual.

    Squeeze and excitation has a quarter of the channels of the block's input. The input is added if
    its shape is that of the output.
    """

    features: int
    kernel: int
    stride: int
    expansion: int
    stochastic_depth: float
    conv_norm: partial
    dtype: str | None

    @nn.compact
    def __call__(self, x, place, train):
        """place: relative depth of the block, from 0 to 1; may be traced."""
        inputs, channels = x.shape[-1], x.shape[-1] * self.expansion
        conv = partial(Conv, kernel=1, bias=True, dtype=self.dtype)
        y = x
        if self.expansion > 1:
            y = self.conv_norm(channels, name='expand')(y, train)
        y = self.conv_norm(channels, self.kernel, self.stride, channels, name='depthwise')(y, train)
        weight = layers.widen(y).mean((1, 2), keepdims=True).astype(y.dtype)
        weight = jax.nn.swish(conv(max(1, inputs // 4), name='squeeze')(weight))
        y *= jax.nn.sigmoid(conv(channels, name='excite')(weight))
        y = self.conv_norm(self.features, activate=False, name='project')(y, train)
        if self.stride > 1 or self.features != inputs:
            return y
        if train and self.stochastic_depth:
            y = drop_images(y, self.stochastic_depth * place, self.make_rng('dropout'))
        return x + y


def drop_images(y, rate, key):
    """Each image of [B, H, W, C] is zero with probability `rate`, else scaled by 1 / (1 - rate)."""
    kept = jax.random.bernoulli(key, 1 - rate, (y.shape[0], 1, 1, 1))
    return (y * (kept / (1 - rate))).astype(y.dtype)


def scan_blocks(block, x, places, train):
    """Equal blocks in sequence as one loop, with their variables stacked along a first axis."""

    def step(block, x, place):
        return block(x, place, train), None

    loop = nn.scan(
        step,
        variable_axes={'params': 0, 'batch_stats': 0},
        split_rngs={'params': True, 'dropout': True},
        length=len(places),
    )
    return loop(block, x, jnp.array(places))[0]
