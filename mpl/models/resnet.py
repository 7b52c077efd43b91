"""Residual network (arXiv 1512.03385), version 1.5: the stride of a bottleneck is on its 3x3."""

from functools import partial, reduce

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from mpl.models import layers, torch
from mpl.models.conv import Conv

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
# Names of layers within a block: here, in timm.
TIMM_LAYERS = {
    'conv_0': 'conv1',
    'norm_0': 'bn1',
    'conv_1': 'conv2',
    'norm_1': 'bn2',
    'conv_2': 'conv3',
    'norm_2': 'bn3',
    'shortcut': 'downsample.0',
    'shortcut_norm': 'downsample.1',
}


def max_pool(x, padding):
    """3x3 maximum at stride 2, [B, H, W, C] -> [B, ceil(H / 2), ceil(W / 2), C].

    Rows, then columns, as maxima of shifted slices. For nn.max_pool a gradient takes 1.4 times the
    time and 1.9 times the memory (stem at 224 pixels on a CPU), and a TPU rounds forward-mode
    derivatives, which MPL takes in every step, to half of their bits. Ties share the gradient.
    """
    for axis in (1, 2):
        side = x.shape[axis]
        half = (side + 1) // 2
        before = 1 if padding == 'symmetric' else side % 2
        pads = [(0, 0)] * x.ndim
        pads[axis] = (before, 2 * half + 1 - side - before)
        x = jnp.pad(x, pads, constant_values=-jnp.inf)
        x = reduce(
            jnp.maximum, [lax.slice_in_dim(x, i, i + 2 * half - 1, 2, axis) for i in range(3)]
        )
    return x


class Block(nn.Module):
    """Two 3x3 convolutions, or the bottleneck 1x1, 3x3, 1x1; ReLU after the sum with the shortcut."""

    channels: int
    stride: int
    bottleneck: bool
    drop_rate: float
    last_scale: nn.initializers.Initializer
    conv: partial
    norm: partial

    @nn.compact
    def __call__(self, x, train):
        plan = [(self.channels, 3, self.stride), (self.channels, 3, 1)]
        if self.bottleneck:
            plan = [(self.channels, 1, 1), plan[0], (4 * self.channels, 1, 1)]
        norm = partial(self.norm, use_running_average=not train)
        y = x
        for i, (channels, kernel, stride) in enumerate(plan):
            y = self.conv(channels, kernel, stride, name=f'conv_{i}')(y)
            if i < len(plan) - 1:
                y = jax.nn.relu(norm(name=f'norm_{i}')(y))
        y = norm(scale_init=self.last_scale, name=f'norm_{i}')(y)
        if x.shape != y.shape:
            x = self.conv(y.shape[-1], 1, self.stride, name='shortcut')(x)
            x = norm(name='shortcut_norm')(x)
        return jax.nn.relu(x + layers.drop_branch(y, self.drop_rate, train))


class ResNet(nn.Module):
    num_classes: int
    depth: int
    stem: str
    padding: str
    dropout: float
    stochastic_depth: float
    zero_init: bool
    norm_epsilon: float
    norm_decay: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        conv = partial(Conv, padding=self.padding, dtype=self.dtype)
        norm = partial(
            nn.BatchNorm, momentum=self.norm_decay, epsilon=self.norm_epsilon, dtype=self.dtype
        )
        last_scale = nn.initializers.zeros if self.zero_init else nn.initializers.ones
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        kernel, stride = (7, 2) if self.stem == 'imagenet' else (3, 1)
        x = conv(64, kernel, stride, name='stem')(image)
        x = jax.nn.relu(norm(use_running_average=not train, name='stem_norm')(x))
        if self.stem == 'imagenet':
            x = max_pool(x, self.padding)
        drop_rates = iter(np.linspace(0, self.stochastic_depth, sum(BLOCKS[self.depth])))
        for group, blocks in enumerate(BLOCKS[self.depth]):
            for i in range(blocks):
                x = block(
                    64 * 2**group,
                    2 if group > 0 and i == 0 else 1,
                    self.depth >= 50,
                    float(next(drop_rates)),
                    last_scale,
                    conv,
                    norm,
                    name=f'group_{group}_block_{i}',
                )(x, train)
        features = layers.widen(x).mean((1, 2))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, name='head')(x)


def make(
    num_classes: int,
    depth: int = 50,
    stem: str = 'imagenet',
    padding: str = 'same',
    dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    zero_init: bool = False,
    norm_epsilon: float = 1e-3,
    norm_decay: float = 0.99,
    dtype: str | None = None,
    remat: bool = False,
) -> nn.Module:
    """ResNet-depth; features are the pooled last activations: [B, 512], from depth 50 on [B, 2048].

    The default is the network of the released code of Meta Pseudo Labels. Weights trained by torch
    need padding='symmetric' and norm_epsilon=1e-5.

    depth: 18, 34, 50, 101 or 152.
    stem: 'imagenet' (7x7 and a max-pool, stride 2 each) or 'cifar' (3x3, stride 1) for small images.
    padding: 'same' as in TensorFlow, or 'symmetric' as in torch.
    dropout: rate on the features before the head.
    stochastic_depth: rate at which the last block is dropped in training, example by example; it
        grows in equal steps from 0 at the first block (arXiv 1603.09382).
    zero_init: the last batch norm of each block starts with scale 0, the block as the identity.
    norm_epsilon, norm_decay: of batch norm; the moving variance is the biased one.
    dtype: None computes in the type of image and parameters; 'bfloat16' computes stem and blocks in bfloat16, with
        parameters, batch statistics, features and logits in float32.
    remat: keep only the blocks' inputs for the backward pass and recompute the rest.
    """
    layers.check_classes(num_classes)
    layers.check_choice('depth', depth, BLOCKS)
    layers.check_choice('stem', stem, ('imagenet', 'cifar'))
    layers.check_choice('padding', padding, ('same', 'symmetric'))
    layers.check_rate('dropout', dropout)
    layers.check_rate('stochastic_depth', stochastic_depth)
    layers.check_rate('norm_decay', norm_decay)
    if norm_epsilon <= 0:
        raise ValueError(f'norm_epsilon={norm_epsilon}: give a number above 0.')
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return ResNet(
        num_classes,
        depth,
        stem,
        padding,
        dropout,
        stochastic_depth,
        zero_init,
        norm_epsilon,
        norm_decay,
        dtype,
        remat,
    )


def from_timm(
    model: nn.Module, tensors: dict[str, np.ndarray], image_shape: tuple = (32, 32, 3)
) -> dict:
    """{'params': ..., 'batch_stats': ...} of `model` from the state dict of timm's resnet<depth>.

    The head keeps the file's number of classes; it is left out if the file has none.

    image_shape: [H, W, C] of the images; only C is used.

    Raises:
      ValueError: the model differs from timm's; a tensor is missing, misshapen or unused.
    """
    check_timm(model)
    image = jnp.zeros((1, *image_shape))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    return torch.read(shapes, tensors, timm_name)


def to_timm(model: nn.Module, variables: dict, image_shape: tuple) -> torch.Timm:
    """The inverse of `from_timm`: the model as timm's resnet<depth>.

    Raises:
      ValueError: timm has no such model.
    """
    check_timm(model)
    if model.stem != 'imagenet':
        raise ValueError(f"timm's ResNets have the stem 'imagenet'; the model has {model.stem!r}.")
    arguments = {'in_chans': image_shape[-1]}
    return torch.Timm(f'resnet{model.depth}', arguments, torch.write(variables, timm_name))


def check_timm(model):
    if (model.padding, model.norm_epsilon) != ('symmetric', 1e-5):
        raise ValueError(
            f"timm trained with padding='symmetric' and norm_epsilon=1e-5; the model has padding="
            f'{model.padding!r} and norm_epsilon={model.norm_epsilon}: make it with those of timm.'
        )


def timm_name(path):
    """('group_0_block_1', 'conv_0', 'kernel') -> 'layer1.1.conv1.weight'."""
    module, layer, leaf = path[0], path[-2], torch.LEAVES[path[-1]]
    if module.startswith('group'):
        _, group, _, block = module.split('_')
        return f'layer{int(group) + 1}.{block}.{TIMM_LAYERS[layer]}.{leaf}'
    return {'stem': 'conv1', 'stem_norm': 'bn1', 'head': 'fc'}[module] + '.' + leaf
