"""Wide residual network (arXiv 1605.07146) as in the released code of Meta Pseudo Labels."""

from functools import partial

import flax.linen as nn
import jax

from mpl.models import layers
from mpl.models.conv import Conv

DEEPEST = 1000


class Activate(nn.Module):
    """Batch norm, then leaky ReLU."""

    negative_slope: float
    epsilon: float
    decay: float
    dtype: str | None

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(
            use_running_average=not train,
            momentum=self.decay,
            epsilon=self.epsilon,
            dtype=self.dtype,
            name='norm',
        )(x)
        return jax.nn.leaky_relu(x, self.negative_slope)


class Block(nn.Module):
    """Pre-activation residual block; if the shape changes, the shortcut has the activated input too."""

    channels: int
    stride: int
    activate: partial
    dtype: str | None

    @nn.compact
    def __call__(self, x, train):
        conv = partial(Conv, self.channels, dtype=self.dtype)
        y = self.activate(name='activate_0')(x, train)
        if x.shape[-1] != self.channels or self.stride != 1:
            x = conv(1, self.stride, name='shortcut')(y)
        y = conv(3, self.stride, name='conv_0')(y)
        y = self.activate(name='activate_1')(y, train)
        return x + conv(3, 1, name='conv_1')(y)


class WideResNet(nn.Module):
    num_classes: int
    depth: int
    width: int
    dropout: float
    negative_slope: float
    norm_epsilon: float
    norm_decay: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        activate = partial(
            Activate, self.negative_slope, self.norm_epsilon, self.norm_decay, self.dtype
        )
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        x = Conv(16, dtype=self.dtype, name='stem')(image)
        for group in range(3):
            for i in range((self.depth - 4) // 6):
                stride = 2 if group > 0 and i == 0 else 1
                channels = 16 * self.width * 2**group
                x = block(channels, stride, activate, self.dtype, name=f'group_{group}_block_{i}')(
                    x, train
                )
        x = activate(name='activate')(x, train)
        features = layers.widen(x).mean((1, 2))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, name='head')(x)


def make(
    num_classes: int,
    depth: int = 28,
    width: int = 2,
    dropout: float = 0.0,
    negative_slope: float = 0.2,
    norm_epsilon: float = 1e-3,
    norm_decay: float = 0.99,
    dtype: str | None = None,
    remat: bool = False,
) -> nn.Module:
    """WRN-depth-width; features are the pooled last activations, [B, 64 * width].

    It differs from the textbook network as the released code of Meta Pseudo Labels does: leaky ReLU;
    in every block that changes channels or stride, the input of the 1x1 shortcut is normalized and
    activated; no dropout inside the blocks; convolutions initialized by fan-out.

    depth: 6 n + 4 with n >= 1, up to 1000, so that each of the three groups has n blocks of two convolutions.
    width: multiplies the channels 16, 32, 64 of the groups.
    dropout: rate on the features before the head.
    negative_slope: of the leaky ReLU; 0 is the ReLU.
    norm_epsilon, norm_decay: of batch norm; the moving variance is the biased one.
    dtype: None computes in the type of image and parameters; 'bfloat16' computes the blocks in bfloat16, with
        parameters, batch statistics, features and logits in float32.
    remat: keep only the blocks' inputs for the backward pass and recompute the rest.
    """
    layers.check_classes(num_classes)
    if not 10 <= depth <= DEEPEST or (depth - 4) % 6:
        raise ValueError(
            f'depth={depth}: a wide residual network has depth 6 n + 4 with n >= 1: 10, 16, 22, 28, '
            f'... up to {DEEPEST}.'
        )
    layers.check_widths('width', (width,))
    layers.check_rate('dropout', dropout)
    layers.check_rate('norm_decay', norm_decay)
    if norm_epsilon <= 0:
        raise ValueError(f'norm_epsilon={norm_epsilon}: give a number above 0.')
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return WideResNet(
        num_classes, depth, width, dropout, negative_slope, norm_epsilon, norm_decay, dtype, remat
    )
