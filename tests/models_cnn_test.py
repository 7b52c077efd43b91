"""The small conv net: cost, learning, precision, refusals, no dead knob."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from sklearn.datasets import load_digits

from mpl.models import cnn


def digits():
    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    return (data.images[order, ..., None] / 16).astype('float32'), data.target[order]


def drawn(model, image, dtype='float32'):
    """Variables of the model's shapes, without the time to compile its init; variances must be positive."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    variables = jax.tree.map(
        lambda x: jnp.asarray(random.normal(size=x.shape) * 0.2, dtype), shapes
    )
    return {
        name: tree if name == 'params' else jax.tree.map(jnp.abs, tree)
        for name, tree in variables.items()
    }


def forward(model, image, variables):
    """((features, logits), changed collections) in training mode."""
    return model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )


def run(model, image, dtype='float32'):
    return jax.jit(lambda v, model=model: forward(model, image, v))(drawn(model, image, dtype))


def gradient(model, image):
    def loss(variables):
        return (forward(model, image, variables)[0][1] ** 2).sum()

    return jax.jit(jax.grad(loss))(drawn(model, image))


def test_default_costs_a_quarter_million_multiply_adds():
    model, image = cnn.make(10), jnp.zeros((1, 8, 8, 1))
    variables = drawn(model, image)
    flops = (
        jax.jit(lambda v: model.apply(v, image, False))
        .lower(variables)
        .compile()
        .cost_analysis()['flops']
    )
    macs = (
        64 * 9 * 16 + 16 * 9 * 16 * 32 + 16 * 9 * 32 * 32 + 512 * 10
    )  # of which padding skips a part
    assert macs == 235_520 and 0.6 * macs < flops / 2 < 1.1 * macs


def test_default_learns_digits():
    """1,000 labels, 300 steps; 97.5 to 98.5 % over seeds and 600 steps when it was chosen."""
    image, label = digits()
    model, optimizer = cnn.make(10), optax.adam(optax.cosine_decay_schedule(3e-3, 300))
    params = model.init(jax.random.key(0), image[:1], False)['params']

    def step(carry, rows):
        def loss(params):
            logits = model.apply({'params': params}, jnp.asarray(image)[rows], True)[1]
            return optax.softmax_cross_entropy_with_integer_labels(
                logits, jnp.asarray(label)[rows]
            ).mean()

        updates, state = optimizer.update(jax.grad(loss)(carry[0]), carry[1])
        return (optax.apply_updates(carry[0], updates), state), None

    rows = np.random.default_rng(1).integers(0, 1000, (300, 64))
    params = jax.jit(lambda p: jax.lax.scan(step, (p, optimizer.init(p)), rows)[0][0])(params)
    guess = model.apply({'params': params}, image[1000:], False)[1].argmax(-1)
    assert (guess == label[1000:]).mean() > 0.965


@pytest.mark.parametrize(
    'knob',
    [
        {'channels': (4, 5)},
        {'strides': (2, 2)},
        {'activation': 'tanh'},
        {'norm': 'batch'},
        {'pool': 'mean'},
        {'dropout': 0.5},
        {'dtype': 'bfloat16'},
    ],
)
def test_every_number_matters(knob):
    image = jnp.asarray(digits()[0][:8])
    base = {'channels': (4, 8), 'strides': (1, 2)}
    plain, changed = (
        run(cnn.make(10, **{**base, **numbers}), image)[0][1] for numbers in ({}, knob)
    )
    assert not np.allclose(plain, changed, rtol=1e-4)


def test_remat_recomputes_and_changes_no_number():
    image = jnp.asarray(digits()[0][:8])
    models = [cnn.make(10, (4, 8), (1, 2), norm='batch', remat=remat) for remat in (False, True)]
    plain, remat = (gradient(model, image) for model in models)
    chex.assert_trees_all_close(plain, remat, rtol=1e-4, atol=1e-5)
    texts = [
        str(jax.make_jaxpr(lambda v, model=model: forward(model, image, v))(drawn(model, image)))
        for model in models
    ]
    assert ['remat' in text or 'checkpoint' in text for text in texts] == [False, True]


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_stays_in_double_precision(norm):
    with jax.enable_x64(True):
        model, image = cnn.make(10, norm=norm, dropout=0.2), jnp.asarray(digits()[0][:8], 'float64')
        variables = drawn(model, image, 'float64')
        outcome = jax.eval_shape(lambda v, model=model: forward(model, image, v), variables)
        assert {str(x.dtype) for x in jax.tree.leaves(outcome)} == {'float64'}
        text = str(jax.make_jaxpr(lambda v: model.apply(v, image, False))(variables))
        assert 'f64[' in text and 'f32[' not in text


def test_bfloat16_computes_narrow_and_keeps_the_rest_wide():
    image = jnp.asarray(digits()[0][:8])
    narrow, wide = (
        run(cnn.make(10, norm='batch', dtype=dtype), image) for dtype in ('bfloat16', None)
    )
    assert {str(x.dtype) for x in jax.tree.leaves(narrow)} == {'float32'}
    np.testing.assert_allclose(
        narrow[0][1], wide[0][1], rtol=0, atol=0.02 * jnp.abs(wide[0][1]).max()
    )


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'channels': ()}, 'channels'),
        ({'strides': (1, 2)}, '3 channels but 2 strides'),
        ({'strides': (1, 0, 1)}, 'strides'),
        ({'activation': 'rleu'}, "'rleu'.*'relu'"),
        ({'norm': 'layer'}, "'layer'"),
        ({'pool': 'max'}, "'max'.*'flatten'"),
        ({'dropout': -0.1}, 'dropout=-0.1'),
        ({'dtype': 'float16'}, "'float16'"),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        cnn.make(**{'num_classes': 10, **numbers})
