"""Vision transformers (arXiv 2010.11929), pre-norm, with the options of timm's checkpoints."""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from mpl.models import layers
from mpl.models.vit_blocks import MLPS, SIZES, AttentionPool, Block, Patches, normal, rotary_angles
from mpl.models.vit_timm import from_timm as from_timm
from mpl.models.vit_timm import resize as resize
from mpl.models.vit_timm import to_timm as to_timm


class VisionTransformer(nn.Module):
    num_classes: int
    size: str
    patch: int
    pool: str
    positions: str
    class_token: bool
    registers: int
    layer_scale: float
    mlp: str
    mlp_width: int
    qkv_bias: bool
    pre_norm: bool
    norm_epsilon: float
    dropout: float
    hidden_dropout: float
    stochastic_depth: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        width, blocks, heads = SIZES[self.size]
        hidden = self.mlp_width or 4 * width
        x = Patches(width, self.patch, self.dtype, not self.pre_norm, name='patches')(image)
        rows, columns = x.shape[1:3]
        x = self.add_tokens(x.reshape(x.shape[0], -1, width))
        x = layers.dropout(x, self.hidden_dropout, train)
        if self.pre_norm:
            x = nn.LayerNorm(epsilon=self.norm_epsilon, dtype=self.dtype, name='norm_pre')(x)
        angles = None
        if self.positions == 'rotary':
            angles = rotary_angles(rows, columns, width // heads)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i, drop_rate in enumerate(np.linspace(0, self.stochastic_depth, blocks)):
            x = block(
                heads,
                self.mlp,
                hidden,
                self.qkv_bias,
                self.layer_scale,
                self.norm_epsilon,
                self.hidden_dropout,
                float(drop_rate),
                self.dtype,
                name=f'block_{i}',
            )(x, train, angles)
        x = layers.widen(x)
        norm = nn.LayerNorm(epsilon=self.norm_epsilon, name='norm')
        patches = x[:, self.class_token + self.registers :]
        # Layer norm is per token, so only those that are pooled are normalized.
        if self.pool == 'token':
            features = norm(x[:, 0])
        elif self.pool == 'mean':
            features = norm(patches.mean(1))
        elif self.pool == 'norm_mean':
            features = norm(patches).mean(1)
        else:
            pool = AttentionPool(
                heads, self.mlp, hidden, self.norm_epsilon, self.dtype, name='pool'
            )
            features = pool(norm(patches))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, normal, name='head')(x)

    def add_tokens(self, x):
        """Class token and registers before the patches, and learned positions: [B, N, D] -> [B, M, D]."""
        (size, count, width), before = x.shape, []
        if self.class_token:
            before.append(self.param('token', nn.initializers.normal(1e-6), (1, 1, width)))
        if self.positions == 'tokens':
            count += self.class_token + self.registers
            positions = self.param('positions', normal, (1, count, width))
        elif self.positions == 'patches':
            x = x + self.param('patch_positions', normal, (1, count, width)).astype(x.dtype)
        if self.registers:
            shape = (1, self.registers, width)
            before.append(self.param('registers', nn.initializers.normal(1e-6), shape))
        before = [jnp.tile(token.astype(x.dtype), (size, 1, 1)) for token in before]
        x = jnp.concatenate([*before, x], axis=1)
        return x + positions.astype(x.dtype) if self.positions == 'tokens' else x


def make(
    num_classes: int,
    size: str = 'S',
    patch: int = 16,
    pool: str = 'token',
    positions: str = 'tokens',
    class_token: bool = True,
    registers: int = 0,
    layer_scale: float = 0.0,
    mlp: str = 'gelu',
    mlp_width: int = 0,
    qkv_bias: bool = True,
    pre_norm: bool = False,
    norm_epsilon: float = 1e-6,
    dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    dtype: str | None = None,
    remat: bool = False,
) -> nn.Module:
    """ViT-size/patch; features are the pooled and normalized last activations, [B, width].

    The default is the ViT of augreg and DeiT. DINOv2 has patch=14 and layer_scale=1e-5, with registers
    also registers=4 and positions='patches'; DINOv3 has layer_scale=1e-5, registers=4,
    positions='rotary', qkv_bias=False and norm_epsilon=1e-5; CLIP has pre_norm=True and
    norm_epsilon=1e-5, that of OpenAI mlp='quick_gelu'; SigLIP has class_token=False and
    pool='attention'.

    Weight decay leaves tokens, position embeddings and LayerScale alone, as timm's does (but for the
    query of attention pooling, which timm decays): see optimizers.decay. Learned positions are one per
    patch, so that the parameters fix the image size: see vit_timm.resize. Initial weights as in timm:
    normal, of standard deviation 0.02.

    size: 'Ti', 'S', 'B', 'L', 'H', 'So' or 'g': width 192, 384, 768, 1024, 1280, 1152, 1536.
    patch: side of a patch in pixels; it divides both sides of the image.
    pool: 'token', the class token; 'mean' over the patches, normalized after the mean; 'norm_mean',
        normalized before it; 'attention', by a learned query (SigLIP). Registers are not pooled.
    positions: 'tokens', learned, one for each token; 'patches', learned, for patches alone; 'rotary', not
        learned (DINOv3): queries and keys of patches are rotated in each block.
    class_token: whether there is one; without pool='token' it is there for the parameters to be the same.
    registers: number of learned tokens that are not pooled (arXiv 2309.16588).
    layer_scale: initial factor of each channel of each branch (arXiv 2103.17239); 0 for no such factors.
    mlp: 'gelu', 'gelu_tanh' (its approximation), 'quick_gelu' (x * sigmoid(1.702 x)) or 'swiglu'.
    mlp_width: hidden width of the MLPs; 0 for four times the width.
    qkv_bias: whether queries, keys and values have biases.
    pre_norm: a layer norm before the first block, and no bias of the patches (CLIP).
    norm_epsilon: of layer norm.
    dropout: rate on the features before the head.
    hidden_dropout: rate on the embedded patches, and after each dense layer of the blocks but qkv.
    stochastic_depth: rate at which the last block's two branches are dropped in training, example
        by example; it grows in equal steps from 0 at the first block (arXiv 1603.09382).
    dtype: None computes in the type of image and parameters; 'bfloat16' computes patches and blocks in bfloat16,
        with parameters, features and logits in float32.
    remat: keep only the blocks' inputs for the backward pass and recompute the rest.
    """
    layers.check_classes(num_classes)
    layers.check_choice('size', size, SIZES)
    layers.check_widths('patch', (patch,))
    layers.check_choice('pool', pool, ('token', 'mean', 'norm_mean', 'attention'))
    layers.check_choice('positions', positions, ('tokens', 'patches', 'rotary'))
    layers.check_choice('mlp', mlp, MLPS)
    for name, number in (('registers', registers), ('mlp_width', mlp_width)):
        if number < 0:
            raise ValueError(f'{name}={number}: give a whole number, 0 or more.')
    if pool == 'token' and not class_token:
        raise ValueError(
            "pool='token' needs a class token: set class_token to True, or pool to 'mean'."
        )
    if pool == 'attention' and mlp == 'swiglu':
        raise ValueError("pool='attention' has an MLP with one first layer: choose another mlp.")
    if layer_scale < 0:
        raise ValueError(f'layer_scale={layer_scale}: give a number above 0, or 0 for none.')
    if norm_epsilon <= 0:
        raise ValueError(f'norm_epsilon={norm_epsilon}: give a number above 0.')
    layers.check_rate('dropout', dropout)
    layers.check_rate('hidden_dropout', hidden_dropout)
    layers.check_rate('stochastic_depth', stochastic_depth)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return VisionTransformer(
        num_classes,
        size,
        patch,
        pool,
        positions,
        class_token,
        registers,
        layer_scale,
        mlp,
        mlp_width,
        qkv_bias,
        pre_norm,
        norm_epsilon,
        dropout,
        hidden_dropout,
        stochastic_depth,
        dtype,
        remat,
    )
