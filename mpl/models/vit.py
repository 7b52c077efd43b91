"""Vision transformer (arXiv 2010.11929), pre-norm, as in timm."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from mpl.models import layers, torch

# size: (width, blocks, heads); arXiv 2010.11929 table 1, and 2012.12877 table 1 for Ti and S.
SIZES = {
    'Ti': (192, 12, 3),
    'S': (384, 12, 6),
    'B': (768, 12, 12),
    'L': (1024, 24, 16),
    'H': (1280, 32, 16),
}
TIMM_SIZES = {
    'Ti': 'tiny_patch16',
    'S': 'small_patch16',
    'B': 'base_patch16',
    'L': 'large_patch16',
    'H': 'huge_patch14',
}
TIMM_LAYERS = {
    'norm_0': 'norm1',
    'qkv': 'attn.qkv',
    'out': 'attn.proj',
    'norm_1': 'norm2',
    'dense_0': 'mlp.fc1',
    'dense_1': 'mlp.fc2',
}

normal = nn.initializers.normal(0.02)


class Patches(nn.Module):
    """Linear map of each patch: [B, H, W, C] -> [B, H / patch * W / patch, width], row by row."""

    width: int
    patch: int
    dtype: str | None

    @nn.compact
    def __call__(self, image):
        side, width = self.patch, self.width
        size, rows, columns, channels = image.shape
        if rows % side or columns % side:
            raise ValueError(
                f'The image of {rows} x {columns} pixels cannot be cut into patches of {side} x '
                f'{side}: give another size of image or patch.'
            )
        kernel = self.param('kernel', nn.initializers.lecun_normal(), (side, side, channels, width))
        bias = self.param('bias', nn.initializers.zeros, (width,))
        image, kernel, bias = promote_dtype(image, kernel, bias, dtype=self.dtype)
        x = image.reshape(size, rows // side, side, columns // side, side, channels)
        x = jnp.einsum('brycxi,yxio->brco', x, kernel)
        return x.reshape(size, -1, width) + bias


def attend(query, key, value):
    """Attention, each of [B, N, heads, D]; softmax in float32, or in float64 where the input is."""
    wide = jnp.promote_types(
        query.dtype, jnp.float32
    )  # jax.nn.dot_product_attention would narrow float64.
    scores = jnp.einsum('bnhd,bmhd->bhnm', query, key, preferred_element_type=wide)
    weights = jax.nn.softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
    return jnp.einsum('bhnm,bmhd->bnhd', weights, value)


class Block(nn.Module):
    """Attention, then two dense layers, each with layer norm before and a residual connection: [B, N, D]."""

    heads: int
    hidden_dropout: float
    drop_rate: float
    dtype: str | None

    @nn.compact
    def __call__(self, x, train):
        width = x.shape[-1]
        dense = partial(nn.Dense, kernel_init=normal, dtype=self.dtype)
        norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
        drop = partial(layers.dropout, self.hidden_dropout, train)

        y = dense(3 * width, name='qkv')(norm(name='norm_0')(x))
        y = y.reshape(*y.shape[:2], 3, self.heads, width // self.heads)
        y = attend(y[:, :, 0], y[:, :, 1], y[:, :, 2]).reshape(x.shape)
        y = drop()(dense(width, name='out')(y))
        x = x + layers.drop_branch(y, self.drop_rate, train)

        y = dense(4 * width, name='dense_0')(norm(name='norm_1')(x))
        y = drop()(jax.nn.gelu(y, approximate=False))
        y = drop()(dense(width, name='dense_1')(y))
        return x + layers.drop_branch(y, self.drop_rate, train)


class VisionTransformer(nn.Module):
    num_classes: int
    size: str
    patch: int
    pool: str
    dropout: float
    hidden_dropout: float
    stochastic_depth: float
    dtype: str | None
    remat: bool

    @nn.compact
    def __call__(self, image, train):
        width, blocks, heads = SIZES[self.size]
        x = Patches(width, self.patch, self.dtype, name='patches')(image)
        token = self.param('token', nn.initializers.normal(1e-6), (1, 1, width))
        positions = self.param('positions', normal, (1, 1 + x.shape[1], width))
        x = jnp.concatenate([jnp.tile(token.astype(x.dtype), (x.shape[0], 1, 1)), x], axis=1)
        x = layers.dropout(self.hidden_dropout, train)(x + positions.astype(x.dtype))
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        for i, drop_rate in enumerate(np.linspace(0, self.stochastic_depth, blocks)):
            x = block(heads, self.hidden_dropout, float(drop_rate), self.dtype, name=f'block_{i}')(
                x, train
            )
        x = layers.widen(x)
        # Layer norm is per position, so it can follow the selection of one position.
        x = x[:, 0] if self.pool == 'token' else x[:, 1:].mean(1)
        features = nn.LayerNorm(epsilon=1e-6, name='norm')(x)
        x = layers.dropout(self.dropout, train)(features)
        return features, layers.Head(self.num_classes, normal, name='head')(x)


def make(
    num_classes: int,
    size: str = 'S',
    patch: int = 16,
    pool: str = 'token',
    dropout: float = 0.0,
    hidden_dropout: float = 0.0,
    stochastic_depth: float = 0.0,
    dtype: str | None = None,
    remat: bool = False,
) -> nn.Module:
    """ViT-size/patch; features are the pooled and normalized last activations, [B, width].

    Weight decay leaves class token and position embeddings alone, as timm's does: see
    optimizers.decay. Position embeddings are learned, one per patch, so that the parameters fix the image size:
    see resize_positions. Initial weights as in timm: normal, of standard deviation 0.02.

    size: 'Ti', 'S', 'B', 'L' or 'H': width 192, 384, 768, 1024, 1280.
    patch: side of a patch in pixels; it divides both sides of the image.
    pool: 'token', the class token; or 'mean' over the patches, normalized after the mean. Both kinds
        have a class token, so that they have the same parameters.
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
    layers.check_choice('pool', pool, ('token', 'mean'))
    layers.check_rate('dropout', dropout)
    layers.check_rate('hidden_dropout', hidden_dropout)
    layers.check_rate('stochastic_depth', stochastic_depth)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    return VisionTransformer(
        num_classes, size, patch, pool, dropout, hidden_dropout, stochastic_depth, dtype, remat
    )


def resize_positions(positions: np.ndarray, grid: tuple) -> np.ndarray:
    """Position embeddings for another image size: [1, 1 + n * n, D] -> [1, 1 + rows * columns, D].

    Bicubic (a = -0.5), antialiased where the grid shrinks, as in timm; the class token's is kept.

    grid: (rows, columns) of patches.
    """
    side = grid_side(positions)
    if tuple(grid) == (side, side):
        return positions
    width = positions.shape[2]
    patches = positions[:, 1:].astype('float32').reshape(1, side, side, width)
    patches = jax.image.resize(patches, (1, *grid, width), 'cubic').reshape(1, -1, width)
    return np.concatenate([positions[:, :1], patches], axis=1)


def resize(params: dict, image_shape: tuple) -> dict:
    """Parameters for square images of one size, as those for images [H, W, C] of another."""
    patch = params['patches']['kernel'].shape[0]
    grid = (image_shape[0] // patch, image_shape[1] // patch)
    return params | {'positions': resize_positions(params['positions'], grid)}


def grid_side(positions):
    """Patches along one side of the image that [1, 1 + n * n, D] position embeddings are for."""
    count = positions.shape[1] if positions.ndim == 3 else 0
    side = round(max(count - 1, 0) ** 0.5)
    if side == 0 or count != 1 + side * side:
        raise ValueError(
            f'Position embeddings of the shape {positions.shape} are not those of a class token and '
            'a square grid, (1, 1 + n * n, width).'
        )
    return side


def from_timm(
    model: nn.Module, tensors: dict[str, np.ndarray], image_shape: tuple | None = None
) -> dict:
    """{'params': ...} of `model` from the state dict of timm's vit_<size>_patch<patch>_<pixels>.

    The head keeps the file's number of classes; it is left out if the file has none. timm's
    models of global_pool='avg' are those of pool='mean'.

    image_shape: [H, W, C] of the images, to which the position embeddings are resized;
        None keeps those of the file, and its square images.

    Raises:
      ValueError: a tensor is missing, misshapen or unused.
    """
    if 'pos_embed' not in tensors:
        raise ValueError('There is no tensor pos_embed: give the weights of a vision transformer.')
    positions, patch = tensors['pos_embed'], model.patch
    if image_shape is None:
        side = grid_side(positions) * patch
        image_shape = (side, side, 3)
    positions = resize_positions(positions, (image_shape[0] // patch, image_shape[1] // patch))
    image = jnp.zeros((1, *image_shape))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    return torch.read(shapes, tensors | {'pos_embed': positions}, partial(timm_name, model.pool))


def to_timm(model: nn.Module, variables: dict, image_shape: tuple) -> torch.Timm:
    """The inverse of `from_timm`: the model as timm's vit_<size>_patch<patch>_<pixels>."""
    arguments = {
        'img_size': list(image_shape[:2]),
        'patch_size': model.patch,
        'global_pool': 'token' if model.pool == 'token' else 'avg',
        'in_chans': image_shape[2],
    }
    tensors = torch.write(variables, partial(timm_name, model.pool))
    return torch.Timm(f'vit_{TIMM_SIZES[model.size]}_224', arguments, tensors)


def timm_name(pool, path):
    """('block_1', 'qkv', 'kernel') -> 'blocks.1.attn.qkv.weight'."""
    if len(path) == 1:
        return {'token': 'cls_token', 'positions': 'pos_embed'}[path[0]]
    module, layer, leaf = path[0], path[-2], torch.LEAVES[path[-1]]
    if module.startswith('block'):
        return f'blocks.{module.split("_")[1]}.{TIMM_LAYERS[layer]}.{leaf}'
    norm = 'norm' if pool == 'token' else 'fc_norm'
    return {'patches': 'patch_embed.proj', 'norm': norm, 'head': 'head'}[module] + '.' + leaf
