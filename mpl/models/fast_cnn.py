"""A convolutional network that reaches its accuracy with little computation, for images of 24 to 40 pixels.

In the spirit of the speed records on CIFAR-10 (Jordan, arXiv 2404.00498, section 3 and appendix A): a
fixed first layer that whitens patches of 2x2 pixels, three stages of 3x3 convolutions with pooling,
GELU, batch norm without scales, and small logits.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mpl.models import layers
from mpl.models.conv import Conv, convolve

SIDE = 2  # pixels of a whitened patch


class Whitening(nn.Module):
    """Products of each patch with fixed filters, and a trained bias: [B, H, W, C] -> [B, H, W, 8 C].

    The filters are statistics of the data, not parameters: they are in the collection of the batch
    statistics, so no optimizer changes them. Without images (see `start`) they pick single pixels.
    """

    dtype: str | None

    @nn.compact
    def __call__(self, x):
        size = SIDE * SIDE * x.shape[-1]

        def pixels():
            one = jnp.eye(size).reshape(SIDE, SIDE, x.shape[-1], size)
            return jnp.concatenate([one, -one], -1)

        kernel = self.variable('batch_stats', 'kernel', pixels).value
        bias = self.param('bias', nn.initializers.zeros, (2 * size,))
        dtype = self.dtype or jnp.promote_types(x.dtype, kernel.dtype)
        return convolve(x.astype(dtype), kernel.astype(dtype)) + bias.astype(dtype)


class Stage(nn.Module):
    """Convolution, pooling, norm, activation; then `depth` - 1 times the same without pooling."""

    channels: int
    depth: int
    norm_decay: float
    dtype: str | None

    @nn.compact
    def __call__(self, x, train):
        for i in range(self.depth):
            x = Conv(self.channels, dtype=self.dtype, kernel_init=dirac_init, name=f'conv_{i}')(x)
            x = pool(x) if i == 0 else x
            x = nn.BatchNorm(
                use_running_average=not train,
                momentum=self.norm_decay,
                use_scale=False,
                dtype=self.dtype,
                name=f'norm_{i}',
            )(x)
            x = jax.nn.gelu(x)
        return x


class FastCNN(nn.Module):
    num_classes: int
    channels: tuple
    depth: int
    norm_decay: float
    logit_scale: float
    dropout: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        least = 2 ** len(self.channels)
        if min(image.shape[1:3]) < least:
            raise ValueError(
                f'The image of {image.shape[1]} x {image.shape[2]} pixels is too small: '
                f'{len(self.channels)} stages halve it; give one of {least} x {least} or more.'
            )
        stage = nn.remat(Stage, static_argnums=(2,)) if self.remat else Stage
        x = jax.nn.gelu(Whitening(self.dtype, name='whitening')(image))
        for i, channels in enumerate(self.channels):
            x = stage(channels, self.depth, self.norm_decay, self.dtype, name=f'stage_{i}')(
                x, train
            )
        features = layers.widen(jnp.max(x, (1, 2)))
        x = layers.dropout(features, self.dropout, train)
        init = layers.uniform_init(features.shape[-1] ** -0.5)
        return features, self.logit_scale * layers.Head(self.num_classes, init, name='head')(x)


def dirac_init(key, shape, dtype=jnp.float32):
    """Copies of the input in the first output channels; the others uniform, by fan-in."""
    height, width, before, after = shape
    kernel = layers.uniform_init((height * width * before) ** -0.5)(key, shape, dtype)
    copied = min(before, after)
    center = jnp.zeros((height, width, before, copied), dtype)
    center = center.at[height // 2, width // 2].set(jnp.eye(before, copied, dtype=dtype))
    return kernel.at[..., :copied].set(center)


def pool(x: jax.Array) -> jax.Array:
    """The maximum of each 2x2 pixels; a last odd row or column is left out.

    Not nn.max_pool, whose gradient on CPUs is a loop over windows.
    """
    size, height, width, channels = x.shape
    x = x[:, : height // 2 * 2, : width // 2 * 2]
    return jnp.max(x.reshape(size, height // 2, 2, width // 2, 2, channels), (2, 4))


def start(image: np.ndarray, epsilon: float = 5e-4) -> dict:
    """The fixed filters of the first layer, from images as the network gets them.

    The filters are the eigenvectors of the covariance of all patches, each divided by the root of its
    eigenvalue + epsilon, and their negatives.

    Args:
      image: float32 [N, H, W, C], standardized.
      epsilon: added to the eigenvalues, in units of the squared standardized pixels.

    Returns:
      Collections of variables, without those that the images do not determine.
    """
    height, width, channels = image.shape[1] - 1, image.shape[2] - 1, image.shape[3]
    shifted = [image[:, r : r + height, c : c + width] for r in range(SIDE) for c in range(SIDE)]
    patches = np.stack(shifted, -2).reshape(-1, SIDE * SIDE * channels).astype(np.float64)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    largest = np.abs(vectors).argmax(0)  # The sign of an eigenvector is arbitrary: this entry > 0.
    vectors *= np.sign(vectors[largest, np.arange(len(values))]) / np.sqrt(values + epsilon)
    kernel = np.concatenate([vectors, -vectors], 1).reshape(SIDE, SIDE, channels, -1)
    return {'batch_stats': {'whitening': {'kernel': kernel.astype(np.float32)}}}


def make(
    num_classes: int,
    channels: tuple = (64, 256, 256),
    depth: int = 2,
    norm_decay: float = 0.9,
    logit_scale: float = 1 / 9,
    dropout: float = 0.0,
    dtype: str | None = None,
    remat: bool = False,
) -> nn.Module:
    """The network; features are the maxima of the last stage over positions, [B, channels[-1]].

    With the default channels and depth, an image of 32x32x3 costs 146 M multiply-adds forward.

    channels: of the stages; each halves height and width.
    depth: 3x3 convolutions per stage.
    norm_decay: of the running statistics of batch norm.
    logit_scale: factor of the logits; small logits at first make large learning rates possible.
    dropout: rate on the features before the head.
    dtype: None computes in the type of image and parameters; 'bfloat16' computes the stages in bfloat16, with
        parameters, batch statistics, features and logits in float32.
    remat: keep only the stages' inputs for the backward pass and recompute the rest.
    """
    layers.check_classes(num_classes)
    layers.check_widths('channels', channels)
    layers.check_widths('depth', (depth,))
    layers.check_rate('norm_decay', norm_decay)
    layers.check_rate('dropout', dropout)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    if not logit_scale > 0:
        raise ValueError(f'logit_scale={logit_scale}: give a number above 0.')
    return FastCNN(
        num_classes, tuple(channels), depth, norm_decay, logit_scale, dropout, dtype, remat
    )
