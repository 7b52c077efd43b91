"""The perceptron: arithmetic, initial values, double precision, refusals, no dead knob."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from mpl.models import mlp

IMAGE = jnp.linspace(-1, 1, 24).reshape(4, 3, 2, 1)


def run(model, image=IMAGE, seed=0):
    """Parameters, batch statistics after one pass, features and logits."""
    variables = model.init(jax.random.key(seed), image, False)
    (features, logits), changed = model.apply(
        variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
    )
    return variables['params'], changed, features, logits


def test_equals_numpy():
    params, _, features, logits = run(mlp.make(3, widths=(5, 4), activation='sigmoid'))
    x = np.asarray(IMAGE).reshape(4, 6)
    for name in ('Dense_0', 'Dense_1'):
        x = 1 / (1 + np.exp(-(x @ params[name]['kernel'] + params[name]['bias'])))
    np.testing.assert_allclose(features, x, rtol=1e-5)
    np.testing.assert_allclose(
        logits, x @ params['Dense_2']['kernel'] + params['Dense_2']['bias'], rtol=1e-4, atol=1e-6
    )


def test_two_moons_network_draws_from_the_range():
    params, *_ = run(
        mlp.make(2, widths=(8, 8), activation='sigmoid', init=0.1), jnp.ones((4, 1, 2, 1))
    )
    kernels = jnp.concatenate([layer['kernel'].ravel() for layer in params.values()])
    assert sum(x.size for x in jax.tree.leaves(params)) == 2 * 8 + 8 + 8 * 8 + 8 + 8 * 2 + 2
    assert 0.09 < jnp.abs(kernels).max() <= 0.1
    assert jnp.abs(kernels.mean()) < 0.02
    assert all((layer['bias'] == 0).all() for layer in params.values())


@pytest.mark.parametrize(
    'knob',
    [
        {'widths': (8,)},
        {'activation': 'tanh'},
        {'norm': 'batch'},
        {'dropout': 0.5},
        {'init': 0.5},
        {'init': 1.5},
    ],
)
def test_every_number_matters(knob):
    outcomes = [run(mlp.make(3, **{'widths': (8, 8), **numbers})) for numbers in ({}, knob)]
    assert not np.allclose(outcomes[0][-1], outcomes[1][-1], atol=1e-3)


def test_stays_in_double_precision():
    with jax.enable_x64(True):
        model, image = (
            mlp.make(3, widths=(8, 8), norm='batch', dropout=0.2),
            IMAGE.astype('float64'),
        )
        variables = jax.tree.map(
            lambda x: x.astype('float64'), model.init(jax.random.key(0), image, False)
        )
        out = model.apply(
            variables, image, True, mutable=['batch_stats'], rngs={'dropout': jax.random.key(1)}
        )
        assert {str(x.dtype) for x in jax.tree.leaves(out)} == {'float64'}


@pytest.mark.parametrize(
    'numbers, words',
    [
        ({'num_classes': 1}, 'num_classes=1'),
        ({'widths': ()}, 'widths'),
        ({'widths': (8, 0)}, 'widths'),
        ({'activation': 'rleu'}, "'rleu'.*'relu'"),
        ({'norm': 'layer'}, "'layer'.*'batch'"),
        ({'dropout': 1.0}, 'dropout=1.0'),
        ({'init': 'uniform'}, "'uniform'"),
        ({'init': -0.1}, 'init=-0.1'),
    ],
)
def test_refuses(numbers, words):
    with pytest.raises(ValueError, match=words):
        mlp.make(**{'num_classes': 3, **numbers})
