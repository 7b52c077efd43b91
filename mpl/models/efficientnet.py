"""EfficientNet (arXiv 1905.11946) as in the released code of Meta Pseudo Labels."""

from functools import partial

import flax.linen as nn

from mpl.models import efficientnet_blocks as blocks
from mpl.models import layers
from mpl.models.efficientnet_timm import from_timm as from_timm
from mpl.models.efficientnet_timm import to_timm as to_timm


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
        conv_norm = partial(blocks.ConvNorm, self.norm_epsilon, self.norm_decay, self.dtype)
        block = nn.remat(blocks.Block, static_argnums=(3,)) if self.remat else blocks.Block
        strides = blocks.strides_of(self.small_image)
        counts = blocks.counts_of(self.depth)
        x = conv_norm(blocks.channels_of(32, self.width), 3, strides[0], name='stem')(image, train)
        for stage, (_, kernel, _, expansion, channels) in enumerate(blocks.STAGES):
            for name, members in blocks.names_of(stage, counts[stage], self.scan).items():
                one = block(
                    blocks.channels_of(channels, self.width),
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
                    blocks.scan_blocks(one, x, places, train)
                    if len(members) > 1
                    else one(x, places[0], train)
                )
        x = conv_norm(blocks.channels_of(1280, self.width), name='top')(x, train)
        features = layers.widen(x).mean((1, 2))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, name='head')(x)


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
    layers.check_choice('variant', variant, blocks.VARIANTS)
    default_width, default_depth = blocks.VARIANTS[variant]
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
