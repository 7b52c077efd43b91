"""Small convolutional network for pictures of 8x8 to 32x32."""

import flax.linen as nn

from mpl.models import layers
from mpl.models.conv import Conv


class Stage(nn.Module):
    """Convolution, norm, activation."""

    channels: int
    stride: int
    activation: str
    norm: str
    norm_decay: float
    dtype: str | None

    @nn.compact
    def __call__(self, x, train):
        x = Conv(
            self.channels,
            stride=self.stride,
            bias=self.norm == 'none',
            dtype=self.dtype,
            name='conv',
        )(x)
        if self.norm == 'batch':
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.norm_decay,
                dtype=self.dtype,
                name='norm',
            )(x)
        return layers.ACTIVATIONS[self.activation](x)


class CNN(nn.Module):
    num_classes: int
    channels: tuple
    strides: tuple
    activation: str
    norm: str
    norm_decay: float
    pool: str
    dropout: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        stage = nn.remat(Stage, static_argnums=(2,)) if self.remat else Stage
        x = image
        for i, (channels, stride) in enumerate(zip(self.channels, self.strides)):
            made = stage(
                channels,
                stride,
                self.activation,
                self.norm,
                self.norm_decay,
                self.dtype,
                name=f'stage_{i}',
            )
            x = made(x, train)
        x = layers.widen(x)
        features = x.mean((1, 2)) if self.pool == 'mean' else x.reshape(x.shape[0], -1)
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, name='head')(x)


def make(
    num_classes: int,
    channels: tuple = (16, 32, 32),
    strides: tuple = (1, 2, 1),
    activation: str = 'relu',
    norm: str = 'none',
    pool: str = 'flatten',
    dropout: float = 0.0,
    dtype: str | None = None,
    remat: bool = False,
    norm_decay: float = 0.99,
) -> nn.Module:
    """3x3 convolutions, one per entry of channels, then pooling, dropout and a linear head.

    The default costs 0.23 M multiply-adds for one 8x8x1 image.

    strides: one per convolution.
    norm: 'batch', or 'none', where the convolutions have a bias instead.
    pool: 'mean' over positions (features [B, channels[-1]]) or 'flatten' (features
        [B, H * W * channels[-1]] of the last stage, and the image size is then fixed by the parameters).
    dropout: rate on the features before the head.
    dtype: None computes in the type of image and parameters; 'bfloat16' computes the stages in bfloat16, with
        parameters, batch statistics, features and logits in float32.
    norm_decay: of the running statistics of batch norm; 0.9 where evaluation mode matters early, as for
        averaged targets.
    remat: keep only the stages' inputs for the backward pass and recompute the rest.
    """
    layers.check_classes(num_classes)
    layers.check_widths('channels', channels)
    layers.check_widths('strides', strides)
    if len(channels) != len(strides):
        raise ValueError(
            f'{len(channels)} channels but {len(strides)} strides: give one stride per convolution.'
        )
    layers.check_choice('activation', activation, layers.ACTIVATIONS)
    layers.check_choice('norm', norm, ('none', 'batch'))
    layers.check_choice('pool', pool, ('mean', 'flatten'))
    layers.check_rate('dropout', dropout)
    layers.check_rate('norm_decay', norm_decay)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return CNN(
        num_classes,
        tuple(channels),
        tuple(strides),
        activation,
        norm,
        norm_decay,
        pool,
        dropout,
        dtype,
        remat,
    )
