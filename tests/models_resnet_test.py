"""The residual network: size, arithmetic against a plain re-statement and timm, precision, memory, refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from mpl.models import layers, resnet

IMAGE = jax.random.normal(jax.random.key(3), (4, 16, 16, 3))


def shaped(model, image=IMAGE):
    return jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))


def drawn(model, dtype='float32', image=IMAGE):
    """Variables away from the initial ones and zeros; a signal keeps its size through the layers."""
    random = np.random.default_rng(0)

    def draw(path, leaf):
        if path[-1].key == 'kernel':
            scale = (2 / np.prod(leaf.shape[:-1])) ** 0.5
            return jnp.asarray(random.normal(size=leaf.shape) * scale, dtype)
        if path[-1].key in ('scale', 'var'):
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), dtype)
        return jnp.asarray(random.normal(size=leaf.shape) * 0.2, dtype)

    return jax.tree_util.tree_map_with_path(draw, shaped(model, image))


def forward(model, image, variables):
    """((features, logits), changed collections) in training mode."""
    return model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )


@pytest.mark.parametrize(
    'depth, published',
    [(18, 11_689_512), (34, 21_797_672), (50, 25_557_032), (101, 44_549_160), (152, 60_192_808)],
)
def test_number_of_parameters(depth, published):
    params = shaped(resnet.make(1000, depth), jnp.zeros((1, 224, 224, 3)))['params']
    assert sum(x.size for x in jax.tree.leaves(params)) == published


def restated(depth, stem, padding, variables, x, decay=0.99):
    """Training-mode features, logits and moving averages, from the description alone."""
    params, updated = variables['params'], {}

    def conv(x, p, stride=1):
        side = p['kernel'].shape[0]
        pads = 'SAME' if padding == 'same' else [(side // 2, side // 2)] * 2
        return lax.conv_general_dilated(
            x, p['kernel'], (stride, stride), pads, dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    def norm(x, *path):
        p, old = params, variables['batch_stats']
        for name in path:
            p, old = p[name], old[name]
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        updated[path] = {
            'mean': decay * old['mean'] + (1 - decay) * mean,
            'var': decay * old['var'] + (1 - decay) * variance,
        }
        return (x - mean) / jnp.sqrt(variance + 1e-3) * p['scale'] + p['bias']

    def relu(x):
        return jnp.where(x > 0, x, 0)

    if stem == 'imagenet':
        x = relu(norm(conv(x, params['stem'], 2), 'stem_norm'))
        pads = 'SAME' if padding == 'same' else [(0, 0), (1, 1), (1, 1), (0, 0)]
        x = lax.reduce_window(x, -jnp.inf, lax.max, (1, 3, 3, 1), (1, 2, 2, 1), pads)
    else:
        x = relu(norm(conv(x, params['stem']), 'stem_norm'))
    for group in range(4):
        for i in range({18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}[depth][group]):
            name = f'group_{group}_block_{i}'
            p, stride = params[name], 2 if group and not i else 1
            if depth == 18:
                y = relu(norm(conv(x, p['conv_0'], stride), name, 'norm_0'))
                y = norm(conv(y, p['conv_1']), name, 'norm_1')
            else:
                y = relu(norm(conv(x, p['conv_0']), name, 'norm_0'))
                y = relu(norm(conv(y, p['conv_1'], stride), name, 'norm_1'))
                y = norm(conv(y, p['conv_2']), name, 'norm_2')
            if stride == 2 or (depth == 50 and i == 0):
                x = norm(conv(x, p['shortcut'], stride), name, 'shortcut_norm')
            x = relu(x + y)
    features = x.mean((1, 2))
    head = params['head']['dense']
    return features, features @ head['kernel'] + head['bias'], updated


@pytest.mark.parametrize(
    'depth, stem, padding', [(50, 'imagenet', 'same'), (18, 'cifar', 'symmetric')]
)
def test_equals_a_plain_restatement_in_double_precision(depth, stem, padding, x64, haste):
    image = jax.random.normal(jax.random.key(3), (2, 64, 49, 3), 'float64')
    if stem == 'cifar':
        image = image[:, :16, :9]
    model = resnet.make(10, depth, stem, padding)
    variables = drawn(model, 'float64', image)
    (features, logits), changed = jax.jit(lambda v: forward(model, image, v))(variables)
    want = jax.jit(lambda v: list(restated(depth, stem, padding, v, image)[:2]))(variables)
    np.testing.assert_allclose(features, want[0], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(logits, want[1], rtol=1e-9, atol=1e-9)
