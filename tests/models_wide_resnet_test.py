"""The wide residual network: size, arithmetic against a plain re-statement, precision, refusals, no dead knob."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from mpl.models import wide_resnet
from mpl.models.conv import Conv
from mpl.models.layers import Head

IMAGE = jax.random.normal(jax.random.key(3), (4, 8, 8, 3))


def drawn(model, dtype='float32'):
    """Variables away from the initial ones and zeros, without the time to compile the model's init."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE, False))
    variables = jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape) * 0.2, dtype), shapes
    )
    return {
        'params': variables['params'],
        'batch_stats': jax.tree.map(jnp.abs, variables['batch_stats']),
    }


def forward(model, image, variables):
    """((features, logits), changed collections) in training mode."""
    return model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )


def size(depth, width, classes=10):
    """Parameters by the formula: 3x3 and 1x1 kernels, two per batch norm, the head."""
    total, before = 27 * 16, 16
    for after in (16 * width, 32 * width, 64 * width):
        for _ in range((depth - 4) // 6):
            total += 2 * before + 9 * before * after + 2 * after + 9 * after * after
            total += before * after if before != after else 0
            before = after
    return total + 2 * before + before * classes + classes


@pytest.mark.parametrize(
    'depth, width, known', [(28, 2, 1_467_610), (28, 8, None), (28, 10, None), (16, 1, None)]
)
def test_number_of_parameters(depth, width, known):
    model = wide_resnet.make(10, depth, width)
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), False)
    )['params']
    assert sum(x.size for x in jax.tree.leaves(shapes)) == size(depth, width)
    assert known in (None, size(depth, width))


def restated(params, x, statistics, decay=0.99):
    """Training-mode features, logits and moving averages of WRN-10-2, from the description alone."""
    updated = {}

    def conv(x, p, stride=1):
        return lax.conv_general_dilated(
            x, p['kernel'], (stride, stride), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    def activate(x, path):
        p, old = params, statistics
        for name in (*path, 'norm'):
            p, old = p[name], old[name]
        mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
        updated[path] = {
            'mean': decay * old['mean'] + (1 - decay) * mean,
            'var': decay * old['var'] + (1 - decay) * variance,
        }
        x = (x - mean) / jnp.sqrt(variance + 1e-3) * p['scale'] + p['bias']
        return jnp.where(x > 0, x, 0.2 * x)

    x = conv(x, params['stem'])
    for group in range(3):
        name, stride = f'group_{group}_block_0', 2 if group else 1
        y = activate(x, (name, 'activate_0'))
        x = conv(y, params[name]['shortcut'], stride)
        y = activate(conv(y, params[name]['conv_0'], stride), (name, 'activate_1'))
        x = x + conv(y, params[name]['conv_1'])
    features = activate(x, ('activate',)).mean((1, 2))
    return (
        features,
        features @ params['head']['dense']['kernel'] + params['head']['dense']['bias'],
        updated,
    )


def test_equals_a_plain_restatement_in_double_precision():
    with jax.enable_x64(True):
        model, image = wide_resnet.make(10, depth=10), IMAGE.astype('float64')
        variables = drawn(model, 'float64')
        (features, logits), changed = jax.jit(lambda v: forward(model, image, v))(variables)
        want = jax.jit(restated)(variables['params'], image, variables['batch_stats'])
        np.testing.assert_allclose(features, want[0], rtol=1e-10)
        np.testing.assert_allclose(logits, want[1], rtol=1e-10)
        for path, moments in want[2].items():
            got = changed['batch_stats']
            for name in (*path, 'norm'):
                got = got[name]
            for name in ('mean', 'var'):
                np.testing.assert_allclose(got[name], moments[name], rtol=1e-9)
        text = str(
            jax.make_jaxpr(jax.grad(lambda v: forward(model, image, v)[0][1].sum()))(variables)
        )
        assert 'f64[' in text and 'f32[' not in text


def test_initial_values():
    kernel = Conv(128).init(jax.random.key(0), jnp.zeros((1, 4, 4, 64)))['params'][
        'kernel'
    ]  # fan-in is not fan-out
    np.testing.assert_allclose(kernel.std(), np.sqrt(2 / (9 * 128)), rtol=0.02)
    assert jnp.abs(kernel).max() > 3.5 * kernel.std()  # not truncated
    head = Head(100).init(jax.random.key(0), jnp.zeros((1, 64)))['params']['dense']
    assert 0.099 < jnp.abs(head['kernel']).max() <= 0.1 and (head['bias'] == 0).all()


def run(**numbers):
    model = wide_resnet.make(10, **{'depth': 10, 'width': 1, **numbers})
    return jax.jit(lambda v: forward(model, IMAGE, v))(drawn(model))


@pytest.fixture(scope='module')
def plain():
    return run()


@pytest.mark.parametrize(
    'knob',
    [
        {'dropout': 0.5},
        {'negative_slope': 0.0},
        {'norm_epsilon': 1e-1},
        {'norm_decay': 0.9},
        {'dtype': 'bfloat16'},
    ],
)
def test_every_number_matters(plain, knob):
    assert not all(
        np.allclose(a, b, rtol=1e-4, atol=1e-5)
        for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(run(**knob)), strict=True)
    )


def test_remat_recomputes_and_changes_no_number():
    models = [wide_resnet.make(10, depth=10, width=1, remat=remat) for remat in (False, True)]
    variables = drawn(models[0])
    grads = [
        jax.jit(jax.grad(lambda v, model=model: jnp.tanh(forward(model, IMAGE, v)[0][1]).sum()))(
            variables
        )
        for model in models
    ]
    chex.assert_trees_all_close(*grads, rtol=1e-3, atol=1e-4)
    texts = [
        str(jax.make_jaxpr(lambda v, model=model: forward(model, IMAGE, v))(variables))
        for model in models
    ]
    assert ['remat' in text or 'checkpoint' in text for text in texts] == [False, True]


def test_bfloat16_computes_narrow_and_keeps_the_rest_wide(plain):
    narrow = run(dtype='bfloat16')
    assert {str(x.dtype) for x in jax.tree.leaves(narrow)} == {'float32'}
    (_, got), (_, want) = narrow[0], plain[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=0.03 * jnp.abs(want).max())


def test_evaluation_uses_the_moving_averages():
    model = wide_resnet.make(10, depth=10, width=1, dropout=0.5)
    predict = jax.jit(lambda image: model.apply(drawn(model), image, False)[1])
    np.testing.assert_allclose(predict(IMAGE)[:1], predict(IMAGE[:1]), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'depth': 29}, 'depth=29.*28'),
        ({'depth': 4}, 'depth=4'),
        ({'depth': 10**6}, 'depth=1000000.*up to 1000'),
        ({'width': 0}, 'width'),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'norm_decay': 1.0}, 'norm_decay=1.0'),
        ({'norm_epsilon': 0.0}, 'norm_epsilon=0.0'),
        ({'dtype': 'float16'}, "'float16'"),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        wide_resnet.make(**{'num_classes': 10, **numbers})
