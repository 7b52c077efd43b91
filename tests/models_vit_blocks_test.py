"""Parts of vision transformers against a few lines of numpy: positions, MLPs, pooling, LayerScale, tokens."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mpl.models import vit, vit_blocks

pytestmark = pytest.mark.usefixtures('fast_compile')

RANDOM = np.random.default_rng(0)


def draw(module, *args):
    """Normal variables of a module, float64, and its output for these arguments."""
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), *args))
    variables = jax.tree.map(lambda x: RANDOM.normal(size=x.shape) * x.shape[0] ** -0.5, shapes)
    return variables['params'], jax.jit(lambda v: module.apply(v, *args))(variables)


def dense(p, x):
    return x @ p['kernel'] + p['bias']


def normed(p, x, epsilon):
    center = x - x.mean(-1, keepdims=True)
    return center / np.sqrt((center**2).mean(-1, keepdims=True) + epsilon) * p['scale'] + p['bias']


def attended(query, key, value):
    """Of one head, [N, D] each."""
    weights = np.exp(query @ key.T / np.sqrt(query.shape[1]))
    return weights / weights.sum(1, keepdims=True) @ value


def test_rotary_positions_turn_pairs_of_channels_as_complex_numbers(x64):
    """By 2 pi times the coordinate of the patch's center, over the period; other tokens stay."""
    x = RANDOM.normal(size=(2, 3 + 6, 2, 8))
    got = np.asarray(vit_blocks.rotate(jnp.array(x), vit_blocks.rotary_angles(2, 3, 8)))
    np.testing.assert_array_equal(got[:, :3], x[:, :3])
    numbers = x[..., :4] + 1j * x[..., 4:]
    for row in range(2):
        for column in range(3):
            places = [[-0.5, 0.5][row]] * 2 + [[-2 / 3, 0, 2 / 3][column]] * 2
            turns = np.exp(2j * np.pi * np.array(places) / np.array([1, 10, 1, 10]))
            turned, token = numbers[:, 3 + 3 * row + column] * turns, got[:, 3 + 3 * row + column]
            np.testing.assert_allclose(token[..., :4] + 1j * token[..., 4:], turned, atol=1e-6)


def test_rotary_attention_depends_on_differences_of_places_alone(x64):
    """The scores of patches that are one column apart are equal, wherever they are."""
    angles = vit_blocks.rotary_angles(1, 5, 8)
    query, key = (np.tile(RANDOM.normal(size=(1, 1, 1, 8)), (1, 5, 1, 1)) for _ in range(2))
    query, key = (
        np.asarray(vit_blocks.rotate(jnp.array(x), angles))[0, :, 0] for x in (query, key)
    )
    scores = np.diagonal(query @ key.T, 1)
    np.testing.assert_allclose(scores, scores[0], rtol=1e-5)
    assert abs((query @ key.T)[0, 2] - scores[0]) > 1e-3


@pytest.mark.parametrize('mlp', vit_blocks.MLPS)
def test_mlp(mlp, x64):
    class Layer(nn.Module):
        @nn.compact
        def __call__(self, x):
            return vit_blocks.feed_forward(x, mlp, 5, nn.Dense, lambda y: y)

    x = RANDOM.normal(size=(2, 3, 4))
    p, got = draw(Layer(), jnp.array(x))
    y = dense(p['dense_0'], x)
    sigmoid = {'quick_gelu': 1 / (1 + np.exp(-1.702 * y))}
    cubic = np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)
    want = {
        'gelu': lambda: y * (1 + np.asarray(jax.scipy.special.erf(y / np.sqrt(2)))) / 2,
        'gelu_tanh': lambda: y * (1 + np.tanh(cubic)) / 2,
        'quick_gelu': lambda: y * sigmoid['quick_gelu'],
        'swiglu': lambda: y * (z := dense(p['gate'], x)) / (1 + np.exp(-z)),
    }[mlp]()
    np.testing.assert_allclose(got, dense(p['dense_1'], want), rtol=1e-10)


def test_attention_pool(x64):
    x = RANDOM.normal(size=(3, 7, 8))
    p, got = draw(vit_blocks.AttentionPool(2, 'quick_gelu', 5, 0.1, None), jnp.array(x))
    query = dense(p['query'], p['latent'][0])
    key, value = np.split(dense(p['key_value'], x), 2, -1)
    for one, image in enumerate(got):
        heads = [
            attended(query[:, h], key[one][:, h], value[one][:, h])
            for h in np.split(np.arange(8), 2)
        ]
        y = dense(p['out'], np.concatenate(heads, 1))
        z = dense(p['dense_0'], normed(p['norm'], y, 0.1))
        y = y + dense(p['dense_1'], z / (1 + np.exp(-1.702 * z)))
        np.testing.assert_allclose(image, y[0], rtol=1e-10)


def test_layer_scale_multiplies_the_channels_of_both_branches(x64):
    """A block without biases and with LayerScale is one whose last layers have these columns scaled."""

    def block(scale):
        return vit_blocks.Block(2, 'gelu', 5, True, scale, 1e-6, 0.0, 0.0, None)

    x = jnp.array(RANDOM.normal(size=(1, 3, 8)))
    p, got = draw(block(0.5), x, False)
    for name, scale in (('out', p['layer_scale_0']), ('dense_1', p['layer_scale_1'])):
        p = p | {name: {key: leaf * scale for key, leaf in p[name].items()}}
    plain = {name: leaf for name, leaf in p.items() if not name.startswith('layer_scale')}
    want = jax.jit(lambda v: block(0.0).apply(v, x, False))({'params': plain})
    np.testing.assert_allclose(got, want, rtol=1e-10)
    initial = jax.jit(lambda: block(0.5).init(jax.random.key(0), x, False))()['params']
    np.testing.assert_array_equal(initial['layer_scale_0'], np.full(8, 0.5))


@pytest.mark.parametrize('positions', ['tokens', 'patches', 'rotary'])
def test_tokens_stand_before_patches_and_have_positions_as_told(positions, monkeypatch, x64):
    """What the first block gets: class token, registers, patches, in this order."""
    monkeypatch.setitem(vit.SIZES, 'Ti', (8, 1, 2))
    seen = []
    monkeypatch.setattr(
        vit_blocks.Block, '__call__', lambda self, x, *rest: seen.append((x, rest[-1])) or x
    )
    model = vit.make(3, 'Ti', 2, positions=positions, registers=2)
    image = RANDOM.normal(size=(1, 4, 6, 3))
    p, _ = draw(model, jnp.array(image), False)
    model.apply({'params': p}, jnp.array(image), False)
    x, angles = seen[-1]
    embedded = np.stack(
        [
            dense(
                {'kernel': p['patches']['kernel'].reshape(12, 8), 'bias': p['patches']['bias']}, x
            )
            for row in (0, 2)
            for column in (0, 2, 4)
            for x in [image[0, row : row + 2, column : column + 2].reshape(12)]
        ]
    )
    want = np.concatenate([p['token'][0], p['registers'][0], embedded])
    if positions == 'tokens':
        want = want + p['positions'][0]
    if positions == 'patches':
        want[3:] += p['patch_positions'][0]
    np.testing.assert_allclose(x[0], want, rtol=1e-10)
    assert (angles is None) == (positions != 'rotary')
    assert ('positions' in p, 'patch_positions' in p) == (
        positions == 'tokens',
        positions == 'patches',
    )


@pytest.mark.parametrize('pool', ['token', 'mean', 'norm_mean', 'attention'])
def test_pools_are_of_the_class_token_or_of_patches_alone(pool, monkeypatch, x64):
    """Without blocks features are pooled patches; registers are in none."""
    monkeypatch.setitem(vit.SIZES, 'Ti', (8, 0, 2))
    model = vit.make(3, 'Ti', 2, pool, 'patches', registers=2, norm_epsilon=0.1, mlp_width=5)
    image = jnp.array(RANDOM.normal(size=(2, 4, 6, 3)))
    p, (features, logits) = draw(model, image, False)
    kernel = p['patches']['kernel']
    patches = np.einsum('brycxi,yxio->brco', image.reshape(2, 2, 2, 3, 2, 3), kernel).reshape(
        2, 6, 8
    )
    patches = patches + p['patches']['bias'] + p['patch_positions']
    of_patches = normed(p['norm'], patches, 0.1)
    want = {
        'token': lambda: normed(p['norm'], np.tile(p['token'][0], (2, 1)), 0.1),
        'mean': lambda: normed(p['norm'], patches.mean(1), 0.1),
        'norm_mean': lambda: of_patches.mean(1),
        'attention': lambda: vit_blocks.AttentionPool(2, 'gelu', 5, 0.1, None).apply(
            {'params': p['pool']}, of_patches
        ),
    }[pool]()
    np.testing.assert_allclose(features, want, rtol=1e-8)
    np.testing.assert_allclose(logits, dense(p['head']['dense'], want), rtol=1e-8, atol=1e-12)
