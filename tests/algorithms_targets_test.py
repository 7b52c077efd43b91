"""The pass over weak views that only give targets: its outputs, statistics, gradient and cost."""

import importlib
import inspect

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from mpl.algorithms import interface
from mpl.models import network
from mpl.models.network import Definition
from mpl.optimizers import sgd

CLASSES, SIZE = 3, 64
RULES = ('uda', 'fixmatch', 'flexmatch', 'freematch', 'softmatch', 'pi_model', 'mpl')


class Net(nn.Module):
    """A hidden layer whose products are nearly all of the cost; batch norm, or none."""

    norm: bool

    @nn.compact
    def __call__(self, image, train):
        x = nn.Dense(SIZE)(image.reshape(len(image), -1))
        if self.norm:
            x = nn.BatchNorm(use_running_average=not train)(x)
        x = nn.tanh(nn.Dense(SIZE)(nn.tanh(x)))
        return x, nn.Dense(CLASSES)(x)


def definition(norm):
    return Definition(Net(norm), sgd.make(100, 0.1, schedule='constant'))


def make_batch(labeled=4, unlabeled=8):
    draw = np.random.default_rng(0)
    image, weak, strong = (
        draw.normal(size=(n, 4, 4, 2)).astype(np.float32) for n in (labeled, unlabeled, unlabeled)
    )
    label = draw.integers(0, CLASSES, labeled).astype(np.int32)
    index = [np.arange(n, dtype=np.int32) for n in (labeled, unlabeled)]
    return {
        'labeled': {'image': image, 'label': label, 'index': index[0]},
        'unlabeled': {'weak': weak, 'strong': strong, 'index': index[1]},
    }


def make_rule(name, norm, **numbers):
    make = importlib.import_module(f'mpl.algorithms.{name}').make
    networks = [p for p in ('student', 'teacher') if p in inspect.signature(make).parameters]
    return make(**dict.fromkeys(networks, definition(norm)), **numbers)


def step(rule, batch):
    def init():
        return rule.init(jax.random.key(0), batch, interface.Sizes(8, 8, CLASSES))

    state = jax.jit(init)()
    return jax.jit(rule.update).lower(state, batch, 0, jax.random.key(1)), state


def test_a_separate_pass_is_two_passes_with_the_running_statistics_of_one():
    student, batch, key = definition(True), make_batch(), jax.random.key(2)
    net = network.create(student, jax.random.key(0), batch['labeled']['image'], 0.0)
    outputs, batch_stats = interface.forward_targets(
        student, net.params, net, batch, key, 'separate'
    )

    def one(stats, *images):
        return network.forward(student, net.params, stats, key, *images)

    (weak,), _ = one(net.batch_stats, batch['unlabeled']['weak'])
    images = batch['labeled']['image'], batch['unlabeled']['strong']
    (labeled, strong), after = one(net.batch_stats, *images)
    chex.assert_trees_all_close(outputs, (labeled, weak, strong), rtol=1e-6)
    chex.assert_trees_all_close(batch_stats, after, rtol=1e-6)


@pytest.mark.parametrize('has_gradient', [False, True])
def test_targets_are_constants_unless_they_get_a_gradient(has_gradient):
    student, batch, key = definition(True), make_batch(), jax.random.key(2)
    net = network.create(student, jax.random.key(0), batch['labeled']['image'], 0.0)

    def score(params, target=None):
        (labeled, weak, strong), _ = interface.forward_targets(
            student, params, net, batch, key, 'separate', has_gradient
        )
        target = weak.logits if target is None else target
        return jnp.sum(labeled.logits**2) + jnp.sum(target * strong.logits), weak.logits

    gradient, target = jax.grad(score, has_aux=True)(net.params)
    constant, _ = jax.grad(score, has_aux=True)(net.params, target)
    same = all(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.allclose(a, b), gradient, constant)))
    assert same != has_gradient


@pytest.mark.parametrize('name', RULES)
def test_without_batch_norm_both_passes_are_the_same_rule(name):
    batch, states = make_batch(), []
    for target_pass in ('joined', 'separate'):
        lowered, state = step(make_rule(name, False, target_pass=target_pass), batch)
        states.append(lowered.compile()(state, batch, 0, jax.random.key(1))[0])
    chex.assert_trees_all_close(*states, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize('name', RULES)
def test_a_separate_pass_has_no_backward_pass(name):
    """Of 3 forward passes over the weak views, 2 are saved."""
    batch = make_batch(32, 128)
    kinds = ['joined', 'separate'] + ['averaged'] * (name != 'mpl')
    joined, *others = (
        step(make_rule(name, True, target_pass=target_pass, ema_decay=0.9), batch)[0].compile()
        for target_pass in kinds
    )
    # The first layer has no gradient towards the image: 1 pass less.
    least = 2 * 128 * (32 * SIZE + 2 * SIZE * SIZE)
    for other in others:
        saved = joined.cost_analysis()['flops'] - other.cost_analysis()['flops']
        assert least < saved < 1.4 * least


def test_averaged_targets_are_of_the_averaged_network_in_evaluation_mode():
    student, batch, key = definition(True), make_batch(), jax.random.key(2)
    net = network.create(student, jax.random.key(0), batch['labeled']['image'], 0.9)
    net = net.replace(ema=jax.tree.map(lambda leaf: leaf + 0.1, net.ema))
    (labeled, weak, strong), stats = interface.forward_targets(
        student, net.params, net, batch, key, 'averaged'
    )
    average = network.Frozen(student, net.ema)
    chex.assert_trees_all_equal(weak, network.predict(average, batch['unlabeled']['weak']))
    wanted, after = interface.forward(student, net.params, net, batch, key, 'strong')
    chex.assert_trees_all_equal(((labeled, strong), stats), (wanted, after))


def test_averaged_targets_without_an_average_or_of_mpls_teacher_are_refused():
    for name, more in (('uda', {}), ('mpl', {'ema_decay': 0.9})):
        with pytest.raises(ValueError, match='targets has no average; give an ema_decay above 0'):
            step(make_rule(name, True, target_pass='averaged', **more), make_batch())
    for name, more in (('mpl', {'label_view': 'weak'}), ('pi_model', {'two_sided': True})):
        rule = make_rule(name, True, target_pass='averaged', ema_decay=0.9, **more)
        with pytest.raises(ValueError, match="'averaged', but its targets get a gradient here; or"):
            step(rule, make_batch())


def test_an_unknown_pass_is_refused():
    with pytest.raises(
        ValueError, match="target_pass 'both' is unknown; choose one of separate, jo"
    ):
        step(make_rule('uda', True, target_pass='both'), make_batch())
