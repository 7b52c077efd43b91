"""The blocks of EfficientNet (arXiv 1905.11946), and the numbers of them."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp

from mpl.models import layers
from mpl.models.conv import Conv

VARIANTS = {  # width, depth
    'b0': (1.0, 1.0),
    'b1': (1.0, 1.1),
    'b2': (1.1, 1.2),
    'b3': (1.2, 1.4),
    'b4': (1.4, 1.8),
    'b5': (1.6, 2.2),
    'b6': (1.8, 2.6),
    'b7': (2.0, 3.1),
    'b6_wide': (5.0, 2.6),
    'l2': (4.3, 5.3),
}
# Of B0: blocks, kernel, stride of the first block, expansion, channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


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


def channels_of(channels, width):
    """Channels of B0 times width, rounded to a multiple of 8 of at least 0.9 of the product."""
    exact = channels * width
    near = max(8, int(exact + 4) // 8 * 8)
    return near if near >= 0.9 * exact else near + 8


def counts_of(depth):
    """The number of blocks of each stage."""
    return [math.ceil(depth * stage[0]) for stage in STAGES]


def strides_of(small_image):
    """The stride of the stem, then of the first block of each stage."""
    strides = [2, *(stage[2] for stage in STAGES)]
    return [1, 1, 1, 1, *strides[4:]] if small_image else strides


def names_of(stage, count, scan):
    """The indices of blocks by variable name: the first, then one per name or all in one stack."""
    first, rest = {f'stage_{stage}_block_0': [0]}, range(1, count)
    if scan and len(rest) > 1:
        return first | {f'stage_{stage}_blocks': [*rest]}
    return first | {f'stage_{stage}_block_{i}': [i] for i in rest}
