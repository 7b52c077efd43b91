"""Parts of vision transformers: sizes, patches, attention, rotary positions, blocks, attention pooling."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.linen.dtypes import promote_dtype

from mpl.models import layers

# size: (width, blocks, heads); arXiv 2010.11929 table 1, 2012.12877 table 1 for Ti and S, 2304.07193
# for g, 2305.13035 for So.
SIZES = {
    'Ti': (192, 12, 3),
    'S': (384, 12, 6),
    'B': (768, 12, 12),
    'L': (1024, 24, 16),
    'H': (1280, 32, 16),
    'So': (1152, 27, 16),
    'g': (1536, 40, 24),
}
# Activations of the MLP; 'swiglu' is a product of two dense layers, see `feed_forward`.
MLPS = {
    'gelu': partial(jax.nn.gelu, approximate=False),
    'gelu_tanh': partial(jax.nn.gelu, approximate=True),
    'quick_gelu': lambda x: x * jax.nn.sigmoid(1.702 * x),
    'swiglu': jax.nn.silu,
}
TEMPERATURE = 100.0  # the longest period of rotary positions, in halves of an image

normal = nn.initializers.normal(0.02)


class Patches(nn.Module):
    """Linear map of each patch: [B, H, W, C] -> [B, H / patch, W / patch, width]."""

    width: int
    patch: int
    dtype: str | None
    bias: bool = True
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, image):
        side, width = self.patch, self.width
        size, rows, columns, channels = image.shape
        if rows % side or columns % side:
            raise ValueError(
                f'The image of {rows} x {columns} pixels cannot be cut into patches of {side} x '
                f'{side}: give another size of image or patch.'
            )
        kernel = self.param('kernel', self.kernel_init, (side, side, channels, width))
        bias = self.param('bias', nn.initializers.zeros, (width,)) if self.bias else None
        image, kernel, bias = promote_dtype(image, kernel, bias, dtype=self.dtype)
        x = image.reshape(size, rows // side, side, columns // side, side, channels)
        x = jnp.einsum('brycxi,yxio->brco', x, kernel)
        return x + bias if self.bias else x


def attend(query, key, value):
    """Attention of [B, N, heads, D] to [B, M, heads, D]; softmax in float32, or in float64 where the input is.

    jax.nn.dot_product_attention has the same error against float64 and is slower on a CPU core: 70 and 184 ms
    forward and backward, not 64 and 156, for [8, 197, 6, 64] in float32, and 72 and 208, not 60 and 164, in
    bfloat16. It narrows float64.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    scores = jnp.einsum('bnhd,bmhd->bhnm', query, key, preferred_element_type=wide)
    weights = jax.nn.softmax(scores * query.shape[-1] ** -0.5).astype(value.dtype)
    return jnp.einsum('bhnm,bmhd->bnhd', weights, value)


def rotary_angles(rows: int, columns: int, width: int) -> np.ndarray:
    """The angles by which pairs of channels are rotated at each patch: float32 [rows * columns, width / 2].

    Centers of patches have coordinates from -1 to 1 along each side of the image. The first half of the
    angles is of the row, the second of the column; channel pair i of n has the period
    TEMPERATURE ** (i / n) (DINOv3, arXiv 2508.10104).

    width: of a head; divisible by 4.
    """
    periods = TEMPERATURE ** (np.arange(width // 4) / (width // 4))
    rows, columns = (2 * (np.arange(side) + 0.5) / side - 1 for side in (rows, columns))
    places = np.stack(np.meshgrid(rows, columns, indexing='ij'), -1).reshape(-1, 2, 1)
    return (2 * np.pi * places / periods).reshape(len(places), -1).astype(np.float32)


def rotate(x, angles):
    """Rotates pairs of channels (i, D / 2 + i) of the last tokens of [B, N, heads, D], one for each row of angles.

    The tokens before them, which have no place in the image, stay.
    """
    before = x.shape[1] - len(angles)
    turned = layers.widen(x[:, before:])
    cosine, sine = jnp.cos(angles)[:, None], jnp.sin(angles)[:, None]
    first, second = jnp.split(turned, 2, -1)
    turned = [first * cosine - second * sine, second * cosine + first * sine]
    return jnp.concatenate([x[:, :before], jnp.concatenate(turned, -1).astype(x.dtype)], 1)


def feed_forward(x, mlp, hidden, dense, drop):
    """The MLP of a block, as layers of the module that calls it: [B, N, D] -> [B, N, D].

    'swiglu' (arXiv 2002.05202, section 2) is silu(gate(x)) * dense_0(x) before the last layer.

    dense: makes a dense layer of a width and name. drop: a dropout layer.
    """
    y = dense(hidden, name='dense_0')(x)
    if mlp == 'swiglu':
        y = y * MLPS[mlp](dense(hidden, name='gate')(x))
    else:
        y = MLPS[mlp](y)
    y = drop(y)
    return drop(dense(x.shape[-1], name='dense_1')(y))


class Block(nn.Module):
    """Attention, then an MLP, each with layer norm before and a residual connection: [B, N, D]."""

    heads: int
    mlp: str
    hidden: int
    qkv_bias: bool
    layer_scale: float
    epsilon: float
    hidden_dropout: float
    drop_rate: float
    dtype: str | None

    @nn.compact
    def __call__(self, x, train, angles=None):
        """angles: of rotary positions, or None; see `rotate`."""
        width = x.shape[-1]
        dense = partial(nn.Dense, kernel_init=normal, dtype=self.dtype)
        norm = partial(nn.LayerNorm, epsilon=self.epsilon, dtype=self.dtype)
        drop = partial(layers.dropout, rate=self.hidden_dropout, train=train)

        def branch(i, y):
            if self.layer_scale:
                init = nn.initializers.constant(self.layer_scale)
                y = y * self.param(f'layer_scale_{i}', init, (width,)).astype(y.dtype)
            return layers.drop_branch(y, self.drop_rate, train)

        y = dense(3 * width, use_bias=self.qkv_bias, name='qkv')(norm(name='norm_0')(x))
        y = y.reshape(*y.shape[:2], 3, self.heads, width // self.heads)
        query, key, value = y[:, :, 0], y[:, :, 1], y[:, :, 2]
        if angles is not None:
            query, key = rotate(query, angles), rotate(key, angles)
        y = attend(query, key, value).reshape(x.shape)
        y = drop(dense(width, name='out')(y))
        x = x + branch(0, y)
        y = feed_forward(norm(name='norm_1')(x), self.mlp, self.hidden, dense, drop)
        return x + branch(1, y)


class AttentionPool(nn.Module):
    """One learned query attends to all tokens; an MLP with a residual connection: [B, N, D] -> [B, D].

    Multihead attention pooling (arXiv 2106.04560), as in SigLIP.
    """

    heads: int
    mlp: str
    hidden: int
    epsilon: float
    dtype: str | None

    @nn.compact
    def __call__(self, x):
        size, count, width = x.shape
        dense = partial(nn.Dense, kernel_init=normal, dtype=self.dtype)
        latent = self.param('latent', nn.initializers.normal(width**-0.5), (1, 1, width))
        query = dense(width, name='query')(latent)
        query = jnp.broadcast_to(query, (size, 1, width)).reshape(size, 1, self.heads, -1)
        pair = dense(2 * width, name='key_value')(x).reshape(size, count, 2, self.heads, -1)
        y = attend(query, pair[:, :, 0], pair[:, :, 1]).reshape(size, 1, width)
        y = dense(width, name='out')(y)
        z = nn.LayerNorm(epsilon=self.epsilon, dtype=self.dtype, name='norm')(y)
        y = y + feed_forward(z, self.mlp, self.hidden, dense, drop=lambda y: y)
        return layers.widen(y[:, 0])
