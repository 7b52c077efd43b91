"""Batch statistics of a step's images from running ones, against a norm without memory."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpl.models import batch_statistics, fast_cnn, network
from mpl.models.network import Definition

IMAGES = [np.random.default_rng(n).normal(n, 2, (8, 6)).astype(np.float32) for n in range(2)]


class Norms(nn.Module):
    decay: float

    @nn.compact
    def __call__(self, x, train):
        x = nn.Dense(4)(x)
        x = nn.BatchNorm(use_running_average=not train, momentum=self.decay)(x)
        x = nn.tanh(nn.Dense(4)(x))
        return x, nn.BatchNorm(use_running_average=not train, momentum=self.decay)(x)


def passes(definition, net, *images):
    """Running statistics -> those after a pass for each of the images, and all outputs."""

    def run(stats):
        outputs, stats = network.forward_each(
            definition, net.params, stats, jax.random.key(0), *images
        )
        return stats, outputs

    return run


def test_of_one_pass_they_are_those_of_a_norm_that_keeps_nothing():
    image = jnp.array(IMAGES[0])
    net = network.create(Definition(Norms(0.9), optax.sgd(0.1)), jax.random.key(0), image, 0.0)
    run = passes(Definition(Norms(0.9), optax.sgd(0.1)), net, image)
    result, found = jax.jit(lambda stats: batch_statistics.of_step(run, stats))(net.batch_stats)
    chex.assert_trees_all_close(result, jax.jit(run)(net.batch_stats), rtol=1e-6)
    wanted, _ = passes(Definition(Norms(0.0), optax.sgd(0.1)), net, image)(net.batch_stats)
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)
    assert abs(found['BatchNorm_0']['mean'] - result[0]['BatchNorm_0']['mean']).max() > 0.1


def test_of_two_passes_the_last_counts_most():
    images = [jnp.array(image) for image in IMAGES]
    definition = Definition(Norms(0.5), optax.sgd(0.1))
    net = network.create(definition, jax.random.key(0), images[0], 0.0)
    _, found = batch_statistics.of_step(passes(definition, net, *images), net.batch_stats)
    one, two = (
        passes(Definition(Norms(0.0), optax.sgd(0.1)), net, image)(net.batch_stats)[0]
        for image in images
    )
    wanted = jax.tree.map(lambda a, b: (0.25 * a + 0.5 * b) / 0.75, one, two)
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_variances_that_rounding_would_make_negative_are_zero():
    """Of a channel that is constant, beside a large running variance."""
    kept, before = np.float32(0.999), {'norm': {'var': jnp.linspace(30.0, 40.0, 256)}}

    def run(stats):
        return jax.tree.map(lambda old: kept * old + (1 - kept) * 1e-9, stats), ()

    (after, _), found = jax.jit(lambda stats: batch_statistics.of_step(run, stats))(before)
    alone = before['norm']['var'] + (after['norm']['var'] - before['norm']['var']) / (1 - kept)
    assert alone.min() < 0
    assert found['norm']['var'].min() == 0 and found['norm']['var'].max() < 0.1


@pytest.mark.parametrize('evaluation_mode', [False, True])
def test_what_passes_do_not_change_stays(evaluation_mode):
    run, stats = whitened(evaluation_mode)
    _, found = batch_statistics.of_step(run, stats)
    chex.assert_trees_all_equal(found['whitening'], stats['whitening'])
    norms = [np.array_equal(*pair) for pair in zip(*map(jax.tree.leaves, (found, stats)))]
    assert all(norms) == evaluation_mode


def test_nothing_is_computed_twice():
    run, stats = whitened()
    once, both = (
        str(jax.make_jaxpr(function)(stats)).count(' convolution[')
        for function in (run, lambda stats: batch_statistics.of_step(run, stats))
    )
    assert once == both == 5


def whitened(evaluation_mode=False):
    """Passes of a network with fixed filters beside its norms, and its statistics."""
    image = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    model = fast_cnn.make(10, (8, 8))
    definition = Definition(model, optax.sgd(0.1), evaluation_mode=evaluation_mode)
    net = network.create(definition, jax.random.key(0), image, 0.0)
    return passes(definition, net, image), net.batch_stats
