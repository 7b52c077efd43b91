"""EfficientNet (arXiv 1905.11946) as in the released code of Meta Pseudo Labels."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from mpl.models import layers, torch
from mpl.models.efficientnet_blocks import Block, ConvNorm, scan_blocks

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

# Names of layers here and in timm: within a block that does not expand, or does; outside of blocks.
TIMM_UNEXPANDED = {
    ('depthwise', 'conv'): 'conv_dw',
    ('depthwise', 'norm'): 'bn1',
    ('squeeze',): 'se.conv_reduce',
    ('excite',): 'se.conv_expand',
    ('project', 'conv'): 'conv_pw',
    ('project', 'norm'): 'bn2',
}
TIMM_EXPANDED = TIMM_UNEXPANDED | {
    ('expand', 'conv'): 'conv_pw',
    ('expand', 'norm'): 'bn1',
    ('depthwise', 'norm'): 'bn2',
    ('project', 'conv'): 'conv_pwl',
    ('project', 'norm'): 'bn3',
}
TIMM_OUTSIDE = {
    ('stem', 'conv'): 'conv_stem',
    ('stem', 'norm'): 'bn1',
    ('top', 'conv'): 'conv_head',
    ('top', 'norm'): 'bn2',
    ('head', 'dense'): 'classifier',
}


class EfficientNet(nn.Module):
    num_classes: int
    width: float
    depth: float
    small_image: bool
    stochastic_depth: float
    dropout: float
    norm_epsilon: float
    norm_decay: float
    dtype: str | None
    remat: bool
    scan: bool

    @nn.compact
    def __call__(self, image, train):
        conv_norm = partial(ConvNorm, self.norm_epsilon, self.norm_decay, self.dtype)
        block = nn.remat(Block, static_argnums=(3,)) if self.remat else Block
        strides = strides_of(self.small_image)
        counts = counts_of(self.depth)
        x = conv_norm(channels_of(32, self.width), 3, strides[0], name='stem')(image, train)
        for stage, (_, kernel, _, expansion, channels) in enumerate(STAGES):
            for name, members in names_of(stage, counts[stage], self.scan).items():
                one = block(
                    channels_of(channels, self.width),
                    kernel,
                    strides[1 + stage] if members[0] == 0 else 1,
                    expansion,
                    self.stochastic_depth,
                    conv_norm,
                    self.dtype,
                    name=name,
                )
                places = [(sum(counts[:stage]) + i) / sum(counts) for i in members]
                x = (
                    scan_blocks(one, x, places, train)
                    if len(members) > 1
                    else one(x, places[0], train)
                )
        x = conv_norm(channels_of(1280, self.width), name='top')(x, train)
        features = layers.widen(x).mean((1, 2))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, name='head')(x)


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


def make(
    num_classes: int,
    variant: str = 'b0',
    width: float | None = None,
    depth: float | None = None,
    small_image: bool = False,
    stochastic_depth: float = 0.0,
    dropout: float = 0.0,
    norm_epsilon: float = 1e-3,
    norm_decay: float = 0.99,
    dtype: str | None = None,
    remat: bool = False,
    scan: bool = False,
) -> nn.Module:
    """EfficientNet; features are the pooled last activations, [B, about 1280 * width].

    As in the released code of Meta Pseudo Labels, squeeze and excitation is sized by its block's
    input, and convolutions are initialized by fan-out, depthwise ones with a fan-out of one channel.

    variant: 'b0' to 'b7', 'l2', or 'b6_wide', the width and depth of the paper's EfficientNet-B6-Wide
        (arXiv 2003.10580, section 4), which give 316.6 M parameters; the paper has 390 M.
    width, depth: multiply the channels and the blocks of B0; None takes the variant's.
    small_image: stride 1 in the stem and in stages 2 and 3, for images of about 32x32.
    stochastic_depth: in training block i of n is dropped for an image with probability
        stochastic_depth * i / n, and scaled by 1 / (1 - probability) otherwise (arXiv 1603.09382).
    dropout: rate on the features before the head.
    norm_epsilon, norm_decay: of batch norm; the moving variance is the biased one.
    dtype: None computes in the type of image and parameters; 'bfloat16' computes the blocks in bfloat16, with
        parameters, batch statistics, features and logits in float32.
    remat: keep only the blocks' inputs for the backward pass and recompute the rest.
    scan: equal blocks are one loop over parameters stacked along a first axis, which compiles much
        faster if a stage has many. Only initial values and random masks differ.
    """
    layers.check_classes(num_classes)
    layers.check_choice('variant', variant, VARIANTS)
    default_width, default_depth = VARIANTS[variant]
    width = default_width if width is None else width
    depth = default_depth if depth is None else depth
    for name, value in {'width': width, 'depth': depth, 'norm_epsilon': norm_epsilon}.items():
        if not 0 < value <= 100:
            raise ValueError(f'{name}={value}: give a number above 0, up to 100.')
    layers.check_rate('stochastic_depth', stochastic_depth)
    layers.check_rate('dropout', dropout)
    layers.check_rate('norm_decay', norm_decay)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return EfficientNet(
        num_classes,
        width,
        depth,
        small_image,
        stochastic_depth,
        dropout,
        norm_epsilon,
        norm_decay,
        dtype,
        remat,
        scan,
    )


def from_timm(
    model: nn.Module, tensors: dict[str, np.ndarray], image_shape: tuple = (32, 32, 3)
) -> dict:
    """{'params': ..., 'batch_stats': ...} of `model` from the state dict of timm's tf_efficientnet.

    The head keeps the file's number of classes; it is left out if the file has none. Most of timm's
    files need ImageNet's usual mean and standard deviation; those of AdvProp (ap_in1k) and b8 need
    0.5 and 0.5. The center crop of evaluation is from 0.875 (b0) to 0.949 (b7), 0.936 (l2 at 475).

    image_shape: [H, W, C] of the images; only C is used.

    Raises:
      ValueError: the model differs from timm's; a tensor is missing, misshapen or unused.
    """
    check_timm(model)
    image = jnp.zeros((1, *image_shape))
    single = model.clone(scan=False)
    shapes = jax.eval_shape(lambda: single.init(jax.random.key(0), image, False))
    variables = torch.read(shapes, tensors, timm_name)
    return {name: stack(model, blocks) for name, blocks in variables.items()}


def to_timm(model: nn.Module, variables: dict, image_shape: tuple) -> torch.Timm:
    """The inverse of `from_timm`: the model as timm's tf_efficientnet.

    Raises:
      ValueError: timm has no such model.
    """
    check_timm(model)
    names = [name for name, numbers in VARIANTS.items() if numbers == (model.width, model.depth)]
    if model.small_image or not names or names == ['b6_wide']:
        raise ValueError(
            f'timm has no EfficientNet of width {model.width} and depth {model.depth} with '
            f'small_image={model.small_image}; it has the variants b0 to b7 and l2 without it.'
        )
    single = {name: unstack(model, blocks) for name, blocks in variables.items()}
    arguments = {'in_chans': image_shape[-1]}
    return torch.Timm(f'tf_efficientnet_{names[0]}', arguments, torch.write(single, timm_name))


def check_timm(model):
    if model.norm_epsilon != 1e-3:
        raise ValueError(
            f'timm trained with norm_epsilon=1e-3; the model has norm_epsilon={model.norm_epsilon}: '
            'make it with that of timm.'
        )


def unstack(model, variables):
    """The inverse of `stack`."""
    variables = dict(variables)
    for stage, count in enumerate(counts_of(model.depth)):
        for name, members in names_of(stage, count, model.scan).items():
            if len(members) > 1:
                blocks = variables.pop(name)
                for n, i in enumerate(members):
                    block = jax.tree.map(lambda leaf, n=n: leaf[n], blocks)
                    variables[f'stage_{stage}_block_{i}'] = block
    return variables


def stack(model, variables):
    """Variables of single blocks, renamed and stacked as in `model`."""
    variables = dict(variables)
    for stage, count in enumerate(counts_of(model.depth)):
        for name, members in names_of(stage, count, model.scan).items():
            if len(members) > 1:
                blocks = [variables.pop(f'stage_{stage}_block_{i}') for i in members]
                variables[name] = jax.tree.map(lambda *leaves: np.stack(leaves), *blocks)
    return variables


def timm_name(path):
    """('stage_1_block_0', 'expand', 'conv', 'kernel') -> 'blocks.1.0.conv_pw.weight'."""
    module, *layer, leaf = path[0], *path[1:-1], torch.LEAVES[path[-1]]
    if module.startswith('stage'):
        _, stage, _, block = module.split('_')
        names = TIMM_UNEXPANDED if STAGES[int(stage)][3] == 1 else TIMM_EXPANDED
        return f'blocks.{stage}.{block}.{names[tuple(layer)]}.{leaf}'
    return f'{TIMM_OUTSIDE[module, *layer]}.{leaf}'
