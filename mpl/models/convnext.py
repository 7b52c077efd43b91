"""ConvNeXt (arXiv 2201.03545) and ConvNeXt V2 (arXiv 2301.00808), as in timm."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mpl.models import layers, torch
from mpl.models.conv import Conv
from mpl.models.vit_blocks import Patches, normal

# size: (blocks of each stage, width of the first stage); arXiv 2201.03545 section 3 and 2301.00808,
# nano as in timm. Each stage has twice the width of the one before.
SIZES = {
    'atto': ((2, 2, 6, 2), 40),
    'femto': ((2, 2, 6, 2), 48),
    'pico': ((2, 2, 6, 2), 64),
    'nano': ((2, 2, 8, 2), 80),
    'tiny': ((3, 3, 9, 3), 96),
    'small': ((3, 3, 27, 3), 96),
    'base': ((3, 3, 27, 3), 128),
    'large': ((3, 3, 27, 3), 192),
    'xlarge': ((3, 3, 27, 3), 256),
    'huge': ((3, 3, 27, 3), 352),
}
# Sizes whose dense layers are 1x1 convolutions in timm, and the one that a version has not.
CONVOLVED = ('atto', 'femto', 'pico', 'nano')
MISSING = {1: 'huge', 2: 'xlarge'}
EPSILON = 1e-6  # of layer norm and global response normalization
LAYER_SCALE = 1e-6  # initial factor of each channel of a branch, in version 1
# Names of layers within a block: here, in timm.
TIMM_LAYERS = {
    'depthwise': 'conv_dw',
    'norm': 'norm',
    'dense_0': 'mlp.fc1',
    'response': 'mlp.grn',
    'dense_1': 'mlp.fc2',
}


class Response(nn.Module):
    """Global response normalization (arXiv 2301.00808, section 4): [B, H, W, C] -> the same.

    Each channel is weighted by its length over the image, relative to the mean length of all channels; the
    input is added.
    """

    dtype: str | None

    @nn.compact
    def __call__(self, x):
        scale = self.param('scale', nn.initializers.zeros, (x.shape[-1],))
        bias = self.param('bias', nn.initializers.zeros, (x.shape[-1],))
        wide = layers.widen(x)
        # 1e-12 for a derivative where a channel is 0 everywhere.
        length = jnp.sqrt(jnp.sum(wide * wide, (1, 2), keepdims=True) + 1e-12)
        weight = length / (length.mean(-1, keepdims=True) + EPSILON)
        return (wide + bias + scale * wide * weight).astype(x.dtype)


class Block(nn.Module):
    """Depthwise convolution, layer norm, two dense layers; the input is added: [B, H, W, C]."""

    version: int
    drop_rate: float
    dtype: str | None

    @nn.compact
    def __call__(self, x, train):
        width = x.shape[-1]
        dense = partial(nn.Dense, kernel_init=normal, dtype=self.dtype)
        y = Conv(
            width,
            kernel=7,
            bias=True,
            dtype=self.dtype,
            groups=width,
            kernel_init=nn.initializers.normal(0.02 * width**-0.5),  # Conv multiplies by the root.
            name='depthwise',
        )(x)
        y = nn.LayerNorm(epsilon=EPSILON, dtype=self.dtype, name='norm')(y)
        y = jax.nn.gelu(dense(4 * width, name='dense_0')(y), approximate=False)
        if self.version == 2:
            y = Response(self.dtype, name='response')(y)
        y = dense(width, name='dense_1')(y)
        if self.version == 1:
            init = nn.initializers.constant(LAYER_SCALE)
            y = y * self.param('layer_scale', init, (width,)).astype(y.dtype)
        return x + layers.drop_branch(y, self.drop_rate, train)


class ConvNeXt(nn.Module):
    num_classes: int
    size: str
    version: int
    patch: int
    dropout: float
    stochastic_depth: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        if min(image.shape[1:3]) < 8 * self.patch:
            raise ValueError(
                f'The image of {image.shape[1]} x {image.shape[2]} pixels is too small: give one of '
                f'{8 * self.patch} x {8 * self.patch} or more, or a smaller patch.'
            )
        stages, width = SIZES[self.size]
        norm = partial(nn.LayerNorm, epsilon=EPSILON, dtype=self.dtype)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        drop_rates = iter(np.linspace(0, self.stochastic_depth, sum(stages)))
        x = self.shrink(image, self.patch, width, 'stem')
        x = norm(name='stem_norm')(x)
        for stage, blocks in enumerate(stages):
            if stage > 0:
                x = norm(name=f'stage_{stage}_norm')(x)
                x = self.shrink(x, 2, width * 2**stage, f'stage_{stage}_downsample')
            for i in range(blocks):
                name = f'stage_{stage}_block_{i}'
                x = block(self.version, float(next(drop_rates)), self.dtype, name=name)(x, train)
        features = nn.LayerNorm(epsilon=EPSILON, name='norm')(layers.widen(x).mean((1, 2)))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, normal, name='head')(x)

    def shrink(self, x, side, width, name):
        """A convolution whose stride is its side; rows and columns that fill no window are left out, as by torch."""
        rows, columns = (length // side * side for length in x.shape[1:3])
        patches = Patches(width, side, self.dtype, kernel_init=normal, name=name)
        return patches(x[:, :rows, :columns])


def make(
    num_classes: int,
    size: str = 'tiny',
    version: int = 1,
    patch: int = 4,
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    dtype: str | None = None,
    remat: bool = False,
) -> nn.Module:
    """ConvNeXt; features are the pooled and normalized last activations, [B, 8 * width].

    Weight decay leaves LayerScale and the scales of normalizations alone, as timm's does: see
    optimizers.decay. Initial weights as in timm: normal, of standard deviation 0.02.

    size: 'atto', 'femto', 'pico', 'nano', 'tiny', 'small', 'base', 'large', 'xlarge' or 'huge': width 40, 48, 64,
        80, 96, 96, 128, 192, 256, 352.
    version: 1 has LayerScale, 2 global response normalization.
    patch: side of the windows of the first layer, its stride; 1 or 2 for small images. Images have sides of
        at least 8 * patch pixels; those beyond a multiple of a layer's stride are not seen.
    dropout: rate on the features before the head.
    stochastic_depth: rate at which the last block is dropped in training, example by example; it
        grows in equal steps from 0 at the first block (arXiv 1603.09382).
    dtype: None computes in the type of image and parameters; 'bfloat16' computes stem and blocks in bfloat16, with
        parameters, features and logits in float32.
    remat: keep only the blocks' inputs for the backward pass and recompute the rest.
    """
    layers.check_classes(num_classes)
    layers.check_choice('size', size, SIZES)
    layers.check_choice('version', version, (1, 2))
    layers.check_widths('patch', (patch,))
    layers.check_rate('dropout', dropout)
    layers.check_rate('stochastic_depth', stochastic_depth)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return ConvNeXt(num_classes, size, version, patch, dropout, stochastic_depth, dtype, remat)


def from_timm(
    model: nn.Module, tensors: dict[str, np.ndarray], image_shape: tuple = (32, 32, 3)
) -> dict:
    """{'params': ...} of `model` from the state dict of timm's convnext_<size> or convnextv2_<size>.

    The head keeps the file's number of classes; it is left out if the file has none. The files named fcmae have
    no last layer norm; it gets scale 1 and bias 0.

    image_shape: [H, W, C] of the images; only C is used.

    Raises:
      ValueError: a tensor is missing, misshapen or unused.
    """
    image = jnp.zeros((1, 8 * model.patch, 8 * model.patch, image_shape[-1]))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    width = shapes['params']['norm']['scale'].shape
    if not any(name.startswith('head.') for name in tensors):
        tensors = tensors | {'head.norm.weight': np.ones(width), 'head.norm.bias': np.zeros(width)}
    dense = {
        name: tensor.reshape(tensor.shape[:2]) if '.mlp.fc' in name and tensor.ndim == 4 else tensor
        for name, tensor in tensors.items()
    }
    return torch.read(shapes, dense, timm_name)


def to_timm(model: nn.Module, variables: dict, image_shape: tuple) -> torch.Timm:
    """The inverse of `from_timm`: the model as timm's convnext_<size> or convnextv2_<size>.

    Raises:
      ValueError: timm has no such model.
    """
    if model.patch != 4 or model.size == MISSING[model.version]:
        raise ValueError(
            f"timm's ConvNeXt V{model.version} has patches of 4 and no size {MISSING[model.version]!r}; the "
            f'model has patch={model.patch} and size={model.size!r}.'
        )
    tensors = torch.write(variables, timm_name)
    if model.size in CONVOLVED:
        tensors = {
            name: tensor[..., None, None] if '.mlp.fc' in name and tensor.ndim == 2 else tensor
            for name, tensor in tensors.items()
        }
    version = {1: '', 2: 'v2'}[model.version]
    return torch.Timm(f'convnext{version}_{model.size}', {'in_chans': image_shape[-1]}, tensors)


def timm_name(path):
    """('stage_0_block_1', 'dense_0', 'kernel') -> 'stages.0.blocks.1.mlp.fc1.weight'."""
    module = path[0]
    if path[-1] == 'layer_scale':
        name, leaf = 'gamma', ''
    else:
        name, leaf = TIMM_LAYERS[path[1]] if 'block' in module else '', torch.LEAVES[path[-1]]
    if module.startswith('stage'):
        _, stage, *rest = module.split('_')
        if rest[0] == 'block':
            return '.'.join(filter(None, ('stages', stage, 'blocks', rest[1], name, leaf)))
        return f'stages.{stage}.downsample.{["norm", "downsample"].index(rest[0])}.{leaf}'
    names = {'stem': 'stem.0', 'stem_norm': 'stem.1', 'norm': 'head.norm', 'head': 'head.fc'}
    return f'{names[module]}.{leaf}'
