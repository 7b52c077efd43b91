"""Networks as values: joined views, averages, prediction."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import AbstractMesh

from mpl.models import cnn, layers, network
from mpl.models.network import Definition


class Tiny(nn.Module):
    """One hidden layer with batch norm; without it, features tell rows apart."""

    norm: bool = True
    dropout: float = 0.0

    @nn.compact
    def __call__(self, image, train):
        x = nn.Dense(5)(image.reshape(len(image), -1))
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        x = nn.Dropout(self.dropout, deterministic=not train)(nn.tanh(x))
        return x, nn.Dense(3)(x)


VIEWS = [np.random.default_rng(i).normal(size=(n, 2, 2, 1)) + i for i, n in enumerate((4, 8, 12))]


def create(definition, ema_decay=0.0):
    return network.create(definition, jax.random.key(0), jnp.array(VIEWS[0]), ema_decay)


@pytest.mark.parametrize('shards', [1, 2, 4])
def test_views_joined_by_shard_share_statistics_and_return_in_order(shards, x64):
    """As a plain concatenation would have it, to rounding, whatever the number of shards."""
    mesh = AbstractMesh((shards, 1), ('data', 'model'))
    definition = Definition(Tiny(), optax.sgd(0.1), mesh)
    net = create(definition)
    views = [jnp.array(view) for view in VIEWS]
    outputs, stats = network.forward(
        definition, net.params, net.batch_stats, jax.random.key(0), *views
    )
    variables = {'params': net.params, 'batch_stats': net.batch_stats}
    (features, logits), changed = definition.model.apply(
        variables, jnp.concatenate(views), train=True, mutable=['batch_stats']
    )
    cuts = np.cumsum([len(view) for view in VIEWS])[:-1]
    for name, whole in (('features', features), ('logits', logits)):
        for output, wanted in zip(outputs, np.split(whole, cuts), strict=True):
            np.testing.assert_allclose(getattr(output, name), wanted, rtol=1e-13, atol=1e-14)
    chex.assert_trees_all_close(stats, changed['batch_stats'], rtol=1e-6)  # kept in float32
    alone, _ = network.forward(definition, net.params, net.batch_stats, jax.random.key(0), views[1])
    assert np.abs(alone[0].logits - outputs[1].logits).max() > 0.01


def test_a_pass_for_each_view_has_its_statistics_and_updates_the_running_ones_in_order(x64):
    definition = Definition(Tiny(), optax.sgd(0.1))
    net = create(definition)
    views, key = [jnp.array(view) for view in VIEWS], jax.random.key(0)
    outputs, stats = network.forward_each(definition, net.params, net.batch_stats, key, *views)
    wanted = net.batch_stats
    for view, output in zip(views, outputs, strict=True):
        (alone,), wanted = network.forward(definition, net.params, wanted, key, view)
        chex.assert_trees_all_close(output, alone, rtol=1e-12)
    chex.assert_trees_all_close(stats, wanted, rtol=1e-6)
    joined, _ = network.forward(definition, net.params, net.batch_stats, key, *views)
    assert np.abs(joined[0].logits - outputs[0].logits).max() > 0.01


def test_rows_are_joined_within_their_shard():
    """The rows of a shard are those that its devices hold: no row moves between them."""
    joined = network._join(tuple(jnp.arange(n) + 100 * n for n in (4, 8)), 2)
    wanted = [400, 401, 800, 801, 802, 803, 402, 403, 804, 805, 806, 807]
    np.testing.assert_array_equal(joined, wanted)
    for got, n in zip(network._split(joined, [4, 8], 2), (4, 8), strict=True):
        np.testing.assert_array_equal(got, np.arange(n) + 100 * n)


def test_forward_drops_by_its_key_alone():
    definition = Definition(Tiny(dropout=0.5), optax.sgd(0.1))
    net = create(definition)

    def logits(seed):
        views = (jnp.array(VIEWS[1], jnp.float32),)
        key = jax.random.key(seed)
        (output,), _ = network.forward(definition, net.params, net.batch_stats, key, *views)
        return output.logits

    np.testing.assert_array_equal(logits(0), logits(0))
    assert np.abs(logits(0) - logits(1)).max() > 0.01


def test_update_steps_the_optimizer_and_ramps_the_average(x64):
    """The decay is min(ema_decay, (1 + step) / (10 + step)), of params and statistics alike."""
    definition = Definition(Tiny(), optax.sgd(0.5, momentum=0.9))
    net = jax.tree.map(lambda x: x.astype(float), create(definition, ema_decay=0.6))
    for step, decay in ((0, 0.1), (1, 2 / 11), (8, 0.5), (10, 0.55), (100, 0.6)):
        gradient = jax.tree.map(lambda p: 0.1 * p + step, net.params)  # noqa: B023
        stats = jax.tree.map(lambda x: x + 1.0, net.batch_stats)
        new = network.update(definition, net, gradient, stats, jnp.int32(step), 0.6)
        trace = jax.tree.map(lambda m, g: 0.9 * m + g, net.opt_state[0].trace, gradient)
        params = jax.tree.map(lambda p, m: p - 0.5 * m, net.params, trace)
        average = jax.tree.map(
            lambda old, now: decay * old + (1 - decay) * now,  # noqa: B023
            net.ema,
            network.Variables(params, stats),
        )
        for got, wanted, rtol in (
            (new.params, params, 1e-12),
            (new.batch_stats, stats, 0),
            (new.ema, average, 1e-6),  # steps count in float32
        ):
            chex.assert_trees_all_close(got, wanted, rtol=rtol)
        net = new


def test_average_starts_at_the_initial_values_or_is_not_kept():
    net = create(Definition(Tiny(), optax.sgd(0.1)), ema_decay=0.9)
    assert net.batch_stats
    chex.assert_trees_all_equal(net.ema.params, net.params)
    chex.assert_trees_all_equal(net.ema.batch_stats, net.batch_stats)
    assert create(Definition(Tiny(), optax.sgd(0.1))).ema is None
    assert not create(Definition(Tiny(norm=False), optax.sgd(0.1))).batch_stats


def test_predict_with_dropout_has_masks_and_running_statistics():
    """The dropped features are found from more logits than features: each is 0 or scaled up."""
    model = cnn.make(20, channels=(8,), strides=(2,), norm='batch', pool='mean', dropout=0.25)
    definition = Definition(model, optax.sgd(0.1))
    image = jnp.array(np.random.default_rng(0).normal(size=(64, 4, 4, 1)), jnp.float32)
    net = network.create(definition, jax.random.key(0), image, 0.0)
    (frozen,) = network.freeze('student', definition, net).values()
    plain = network.predict(frozen, image)
    _, kernel = jax.tree.leaves(net.params['head'])  # Its bias is 0.
    inverse = np.linalg.pinv(kernel)
    shares = []
    for seed in range(4):
        some = network.predict_with_dropout(frozen, image, jax.random.key(seed))
        np.testing.assert_array_equal(some.features, plain.features)  # of the running statistics
        dropped = some.logits @ inverse
        kept = np.abs(dropped) > 1e-4
        wanted = np.where(kept, plain.features / 0.75, 0.0)
        np.testing.assert_allclose(dropped, wanted, atol=1e-4)
        shares.append(np.mean(kept[plain.features > 1e-3]))
    assert len(set(shares)) == 4 and abs(np.mean(shares) - 0.75) < 0.05


def test_dropout_of_prediction_drops_no_branches():
    class Branch(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            x = layers.drop_branch(x, 0.5, train)
            return x, layers.dropout(x, 0.5, train)

    frozen = network.Frozen(Definition(Branch(), optax.sgd(0.1)), network.Variables({}, {}))
    image = jnp.ones((64, 2, 2, 1))
    some = network.predict_with_dropout(frozen, image, jax.random.key(0))
    assert (some.features == 1).all() and set(np.unique(some.logits)) == {0, 2}


def test_predict_uses_running_statistics_and_no_dropout():
    definition = Definition(Tiny(dropout=0.5), optax.sgd(0.1))
    net = create(definition, ema_decay=0.9)
    stats = jax.tree.map(lambda x: x + 2.0, net.batch_stats)
    net = net.replace(batch_stats=stats)
    frozen = network.freeze('student', definition, net)
    assert list(frozen) == ['student', 'student_ema']
    images = jnp.array(VIEWS[1], jnp.float32)
    whole = network.predict(frozen['student'], images)
    chex.assert_shape([whole.features, whole.logits], [(8, 5), (8, 3)])

    params, norm = net.params, stats['BatchNorm_0']
    x = images.reshape(8, -1) @ params['Dense_0']['kernel'] + params['Dense_0']['bias']
    x = np.tanh((x - norm['mean']) / np.sqrt(norm['var'] + 1e-5))  # scale 1, bias 0
    np.testing.assert_allclose(whole.features, x, rtol=1e-4, atol=1e-5)
    wanted = x @ params['Dense_1']['kernel'] + params['Dense_1']['bias']
    np.testing.assert_allclose(whole.logits, wanted, rtol=1e-4, atol=1e-5)

    one = network.predict(frozen['student'], images[3:4])
    np.testing.assert_allclose(one.logits, whole.logits[3:4], rtol=1e-5, atol=1e-6)
    average = network.predict(frozen['student_ema'], images)
    assert np.abs(average.logits - whole.logits).max() > 0.01
    assert list(network.freeze('teacher', definition, net.replace(ema=None))) == ['teacher']


def test_count_parameters():
    net = create(Definition(Tiny(), optax.sgd(0.1)))
    assert network.count_parameters(net.params) == (4 * 5 + 5) + 2 * 5 + (5 * 3 + 3)
