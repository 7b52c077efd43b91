"""Every optimizer: no dead knob, decay of weights alone, and steps by hand."""

import functools
import importlib
import inspect
import pkgutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from mpl import models, optimizers
from mpl.optimizers import adamw, backbone, decay, rmsprop, sgd

# Of each knob: numbers of the base run, and the other value. `peak` stands for both.
BASE = {'steps': 8, 'learning_rate': 0.125}
COMMON = {
    'steps': ({}, 12),
    'learning_rate': ({}, 0.25),
    'schedule': ({}, 'constant'),
    'warmup_steps': ({}, 2),
    'wait_steps': ({}, 1),
    'weight_decay': ({}, 0.1),
    'clip_norm': ({}, 0.5),
    'backbone_rate': ({}, 0.5),
    'layer_decay': ({}, 0.5),
    'trained': ({}, ('head',)),
}
KNOBS = {
    'sgd': COMMON | {'momentum': ({}, 0.5), 'nesterov': ({}, False), 'bias_rate': ({}, 0.5)},
    'adamw': COMMON | {'beta1': ({}, 0.5), 'beta2': ({}, 0.5), 'epsilon': ({}, 0.1)},
    'lars': COMMON | {'momentum': ({}, 0.5), 'trust': ({}, 0.5), 'bias_rate': ({}, 0.5)},
    'rmsprop': COMMON
    | {
        'decay_rate': ({'schedule': 'exponential', 'decay_steps': 1}, 0.5),
        'decay_steps': ({'schedule': 'exponential'}, 1),
        'momentum': ({}, 0.5),
        'square_decay': ({}, 0.5),
        'epsilon': ({}, 0.1),
    },
}


def discover():
    """The modules of the folder that have a `make`."""
    modules = {
        found.name: importlib.import_module(f'mpl.optimizers.{found.name}')
        for found in pkgutil.iter_modules(optimizers.__path__)
    }
    return {name: module.make for name, module in modules.items() if hasattr(module, 'make')}


MAKES = discover()
ALL = [(name, knob) for name in MAKES for knob in inspect.signature(MAKES[name]).parameters]


def params():
    return {
        'head': {'kernel': jnp.array([[1.0, -2.0], [0.5, 3.0]]), 'bias': jnp.array([4.0, -5.0])},
        'norm_0': {'scale': jnp.array([2.0, 1.0]), 'bias': jnp.array([-1.0, 0.5])},
    }


def gradient(p, step):
    """Of no particular loss; differs from step to step."""
    return jax.tree.map(lambda x: jnp.sin(3 * x + step), p)


def walk(optimizer, steps=3, gradient=gradient):
    """Params after each step."""
    p, out = params(), []
    opt_state = optimizer.init(p)
    for step in range(steps):
        changes, opt_state = optimizer.update(gradient(p, step), opt_state, p)
        p = jax.tree.map(jnp.add, p, changes)
        out.append(p)
    return out


@functools.cache
def walked(name, **numbers):
    (*_, last) = walk(MAKES[name](**{**BASE, **numbers}))
    return jax.tree.map(np.array, last)


def test_table_of_knobs_is_complete():
    assert {name: set(table) for name, table in KNOBS.items()} == {
        name: set(inspect.signature(make).parameters) for name, make in MAKES.items()
    }


@pytest.mark.parametrize('name, knob', ALL)
def test_no_knob_is_dead(name, knob):
    base, other = KNOBS[name][knob]
    one, two = walked(name, **base), walked(name, **{**base, knob: other})
    difference = jax.tree.map(lambda a, b: np.abs(a - b).max(), one, two)
    assert max(jax.tree.leaves(difference)) > 1e-4


@pytest.mark.parametrize('name', MAKES)
def test_schedule_counts_its_own_steps(name):
    """Nothing moves in the wait, then all does; the cosine has come to 0 after the last step."""
    # In rmsprop the rate is within the momentum, which goes on when the rate is 0.
    numbers = {'momentum': 0.0} if name == 'rmsprop' else {}
    path = walk(MAKES[name](4, 0.125, warmup_steps=1, wait_steps=1, **numbers), steps=5)
    chex.assert_trees_all_equal(path[0], params())
    assert all((a != b).all() for a, b in zip(*map(jax.tree.leaves, (path[1], params()))))
    chex.assert_trees_all_close(path[4], path[3], rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize('name', MAKES)
def test_weight_decay_spares_biases_and_norms(name):
    zero = functools.partial(gradient_of, 0.0)
    (last,) = walk(MAKES[name](8, 0.125, 'constant', weight_decay=0.4), 1, zero)
    before = params()
    kernel = before['head']['kernel']
    decayed = {  # What the optimizer makes of the decay, which is all that moves here.
        'sgd': 1.9 * 0.4 * kernel,
        'lars': 0.001 * kernel,
        'adamw': 0.4 * kernel,
        'rmsprop': 0.4 * kernel / jnp.sqrt(0.9 + 0.1 * (0.4 * kernel) ** 2 + 1e-3),
    }[name]
    np.testing.assert_allclose(last['head']['kernel'], kernel - 0.125 * decayed, 1e-6)
    np.testing.assert_array_equal(last['head']['bias'], before['head']['bias'])
    chex.assert_trees_all_equal(last['norm_0'], before['norm_0'])


# The parameters of each model that weight decay leaves alone, by the last part of their names: those
# with one axis, biases, and what timm lists in `no_weight_decay` (cls_token, reg_token, pos_embed); also
# the query of attention pooling (latent), which timm decays.
KEPT = {
    'cnn': {'bias'},
    'convnext': {'bias', 'scale', 'layer_scale'},
    'efficientnet': {'bias', 'scale'},
    'fast_cnn': {'bias'},
    'mlp': {'bias'},
    'projected': {'bias', 'scale'},
    'projector': {'bias', 'scale'},
    'resnet': {'bias', 'scale'},
    'vit': {'bias', 'scale', 'token', 'positions', 'registers', 'latent'}
    | {'layer_scale_0', 'layer_scale_1'},
    'wide_resnet': {'bias', 'scale'},
}
SMALL = {
    'efficientnet': {'depth': 1.5, 'width': 0.1, 'scan': True},
    'projected': {'trunk': {'name': 'cnn', 'norm': 'batch'}, 'widths': (4,)},
    'projector': {'widths': (4, 4, 4), 'last_norm': 'affine', 'prototypes': 3},
    'resnet': {'depth': 18},
    'vit': {'size': 'Ti', 'registers': 1, 'layer_scale': 0.1, 'pool': 'attention'},
    'wide_resnet': {'depth': 10, 'width': 1},
}


def test_every_model_has_its_list_of_parameters_that_are_not_decayed():
    found = {
        module.name
        for module in pkgutil.iter_modules(models.__path__)
        if hasattr(importlib.import_module(f'mpl.models.{module.name}'), 'make')
    }
    assert found == set(KEPT)


@pytest.mark.parametrize('model', KEPT)
def test_weight_decay_acts_on_kernels_alone_in_every_model(model):
    """Also where blocks are stacked for a scan, and their biases have two axes."""
    make = importlib.import_module(f'mpl.models.{model}').make
    classes = {'num_classes': 4} if 'num_classes' in inspect.signature(make).parameters else {}
    made = make(**classes, **SMALL.get(model, {}))
    image = jnp.zeros((1, 32, 32, 3))
    shapes = jax.eval_shape(lambda: made.init(jax.random.key(0), image, False))['params']
    kept, decayed = set(), set()
    for path, is_decayed in traverse_util.flatten_dict(decay.kernels(shapes)).items():
        (decayed if is_decayed else kept).add(path[-1])
    assert (decayed, kept) == ({'kernel'}, KEPT[model])


def test_bias_rate_multiplies_every_step_of_biases_alone():
    def constant(p, step):
        return gradient(params(), step)

    full, fast = (walk(sgd.make(8, 0.125, bias_rate=rate), gradient=constant) for rate in (1, 64))
    for one, other in zip(full, fast, strict=True):
        for layer, start in params().items():
            for name, first in start.items():
                factor = 64 if name == 'bias' else 1
                moved = np.array(one[layer][name] - first)
                np.testing.assert_allclose(other[layer][name] - first, factor * moved, rtol=1e-4)


def test_weight_decay_without_kernels_is_refused():
    p = {'w': jnp.ones((2, 2)), 'b': jnp.ones(2)}
    with pytest.raises(ValueError, match="weight_decay is 0.1, .* named 'kernel', and the network"):
        sgd.make(8, 0.125, weight_decay=0.1).init(p)
    sgd.make(8, 0.125).init(p)


def test_derivative_of_the_first_step_of_adam_is_nearly_zero(x64):
    """epsilon / (|g| + epsilon)^2 of a gradient g, since the step itself is rate * sign(g)."""
    epsilon, p = 1e-8, params()
    optimizer = adamw.make(8, 0.125, 'constant', epsilon=epsilon)

    def step(g):
        return optimizer.update(g, optimizer.init(p), p)[0]

    g = gradient(p, 0)
    moved, pull = jax.vjp(step, g)
    (got,) = pull(jax.tree.map(jnp.ones_like, p))
    signs = jax.tree.map(lambda x: -0.125 * jnp.sign(x), g)
    chex.assert_trees_all_close(moved, signs, rtol=1e-6)
    expected = jax.tree.map(lambda x: -0.125 * epsilon / (jnp.abs(x) + epsilon) ** 2, g)
    chex.assert_trees_all_close(got, expected, rtol=1e-5)


@pytest.mark.parametrize(
    'name, numbers, sentence',
    [
        ('adamw', {'beta1': 1.0}, 'beta1 is 1.0; give a number from 0 to below 1'),
        ('adamw', {'beta2': 1.0}, 'beta2 is 1.0; give a number from 0 to below 1'),
        ('adamw', {'epsilon': -1.0}, 'epsilon is -1.0; give 0 or more'),
        ('rmsprop', {'epsilon': 0.0}, 'epsilon is 0.0; give 1e-20 or more'),
        ('sgd', {'clip_norm': 1e-30}, 'clip_norm is 1e-30; give a number from 1e-18 to 1e18'),
        ('sgd', {'clip_norm': 1e30}, 'clip_norm is 1e[+]30; give a number from 1e-18 to 1e18'),
    ],
)
def test_numbers_that_end_in_nan_are_refused(name, numbers, sentence):
    with pytest.raises(ValueError, match=sentence):
        MAKES[name](**BASE, **numbers)


EDGES = {
    'sgd': [{'momentum': 1.0}, {'clip_norm': 1e-18}, {'clip_norm': 1e18}, {'weight_decay': 1.0}],
    'adamw': [{'beta1': 0.0, 'beta2': 0.0, 'epsilon': 0.0}, {'clip_norm': 1e-18}],
    'lars': [{'momentum': 1.0}, {'clip_norm': 1e-18}, {'trust': 1e6}],
    'rmsprop': [
        {'momentum': 1.0, 'square_decay': 1.0},
        {'square_decay': 0.0, 'epsilon': 1e-20},
        {'clip_norm': 1e-18},
    ],
}


@pytest.mark.parametrize('name, numbers', [(n, one) for n in MAKES for one in EDGES[n]], ids=str)
def test_numbers_at_their_ends_leave_steps_finite(name, numbers):
    """For gradients of 0, and of sizes at which squares leave float32 on either side."""
    for size in (0.0, 1e-30, 1.0, 1e15):
        path = walk(MAKES[name](**BASE, **numbers), 3, functools.partial(gradient_of, size))
        chex.assert_tree_all_finite({size: path})


def gradient_of(value, p, step):
    del step
    return jax.tree.map(lambda x: jnp.full_like(x, value), p)


def norm(tree):
    return np.sqrt(sum((np.array(leaf) ** 2).sum() for leaf in jax.tree.leaves(tree)))


@pytest.mark.parametrize('size, wanted', [(10.0, 2.0), (0.1, 0.1 * 10**0.5)])
def test_sgd_clips_the_global_norm_and_only_what_is_greater(size, wanted):
    (last,) = walk(
        sgd.make(8, 1.0, 'constant', momentum=0.0, clip_norm=2.0),
        1,
        functools.partial(gradient_of, size),
    )
    step = jax.tree.map(jnp.subtract, params(), last)
    np.testing.assert_allclose(norm(step), wanted, rtol=1e-5)
    np.testing.assert_allclose(step['norm_0']['scale'], step['head']['bias'], rtol=1e-5)


def test_sgd_clips_gradient_and_decay_together():
    numbers = {'momentum': 0.0, 'weight_decay': 100.0, 'clip_norm': 2.0}
    (last,) = walk(sgd.make(8, 1.0, 'constant', **numbers), 1)
    np.testing.assert_allclose(norm(jax.tree.map(jnp.subtract, params(), last)), 2, rtol=1e-5)


def test_adamw_clips_the_gradient_before_its_moments():
    """A gradient that only the clip keeps from swamping the second moment."""

    def spike(p, step):
        return gradient_of(1e4 if step == 0 else 1.0, p, step)

    clipped = walk(adamw.make(8, 0.125, 'constant', clip_norm=1.0), 3, spike)
    capped = walk(adamw.make(8, 0.125, 'constant'), 3, functools.partial(gradient_of, 10**-0.5))
    free = walk(adamw.make(8, 0.125, 'constant'), 3, spike)
    chex.assert_trees_all_close(clipped[2], capped[2], rtol=1e-5)
    assert norm(jax.tree.map(jnp.subtract, free[2], capped[2])) > 0.01


@pytest.mark.parametrize('momentum, nesterov', [(0.0, True), (0.9, False), (0.9, True)])
def test_sgd_by_hand(momentum, nesterov, x64):
    path = walk(sgd.make(8, 0.125, 'constant', momentum=momentum, nesterov=nesterov), 4)
    p = params()
    trace = jax.tree.map(jnp.zeros_like, p)
    for step, got in enumerate(path):
        g = gradient(p, step)
        trace = jax.tree.map(lambda m, x: momentum * m + x, trace, g)
        move = jax.tree.map(lambda m, x: momentum * m + x, trace, g) if nesterov else trace
        p = jax.tree.map(lambda x, m: x - 0.125 * m, p, move)
        chex.assert_trees_all_close(got, p, rtol=1e-12)


def test_adamw_by_hand(x64):
    numbers = {'beta1': 0.8, 'beta2': 0.75, 'epsilon': 1e-3, 'weight_decay': 0.1}
    path = walk(adamw.make(8, 0.125, 'constant', **numbers), 4)
    p = params()
    mean = square = jax.tree.map(jnp.zeros_like, p)
    for step, got in enumerate(path):
        g = gradient(p, step)
        mean = jax.tree.map(lambda m, x: 0.8 * m + 0.2 * x, mean, g)
        square = jax.tree.map(lambda v, x: 0.75 * v + 0.25 * x * x, square, g)

        def move(x, m, v, count=step + 1):
            m, v = m / (1 - 0.8**count), v / (1 - 0.75**count)
            return x - 0.125 * (m / (jnp.sqrt(v) + 1e-3) + 0.1 * x * (x.ndim > 1))

        p = jax.tree.map(move, p, mean, square)
        chex.assert_trees_all_close(got, p, rtol=1e-12)


def test_lars_by_hand(x64):
    """Kernels adapted after decay, biases and scales neither; momentum before the falling rate."""
    numbers = {'momentum': 0.8, 'weight_decay': 0.1, 'trust': 0.25, 'bias_rate': 0.5}
    path = walk(MAKES['lars'](4, 0.125, 'linear', **numbers), 3)
    p = params()
    trace = jax.tree.map(jnp.zeros_like, p)
    for step, got in enumerate(path):

        def push(m, x, g):
            if x.ndim == 1:
                return 0.8 * m + 0.5 * g
            u = g + 0.1 * x
            return 0.8 * m + 0.25 * jnp.sqrt((x**2).sum()) / jnp.sqrt((u**2).sum()) * u

        trace = jax.tree.map(push, trace, p, gradient(p, step))
        rate = 0.125 * (1 - step / 4)
        p = jax.tree.map(lambda x, m, rate=rate: x - rate * m, p, trace)
        chex.assert_trees_all_close(got, p, rtol=1e-12)


def test_lars_clips_gradient_and_decay_together():
    """Seen in the parameters that are not adapted."""
    numbers = {'momentum': 0.0, 'weight_decay': 100.0, 'clip_norm': 2.0}
    (last,) = walk(MAKES['lars'](8, 1.0, 'constant', **numbers), 1)
    p, g = params(), gradient(params(), 0)
    whole = g | {'head': g['head'] | {'kernel': g['head']['kernel'] + 100 * p['head']['kernel']}}
    moved = p['norm_0']['scale'] - last['norm_0']['scale']
    np.testing.assert_allclose(moved, 2 / norm(whole) * g['norm_0']['scale'], rtol=1e-4)


def test_lars_leaves_kernels_of_zero_to_plain_steps():
    p = jax.tree.map(jnp.zeros_like, params())
    optimizer = MAKES['lars'](8, 0.125, 'constant', momentum=0.0)
    moved, _ = optimizer.update(gradient_of(2.0, p, 0), optimizer.init(p), p)
    chex.assert_trees_all_equal(moved, gradient_of(-0.25, p, 0))


def test_a_probe_has_sgd_of_its_own_and_no_part_in_the_clipped_norm(x64):
    optimizer = backbone.with_probe(sgd.make(8, 1.0, 'constant', momentum=0.0, clip_norm=2.0), 0.5)
    p = params()
    state, trace = optimizer.init(p), jax.tree.map(jnp.zeros_like, p['head'])
    for step in range(2):
        g = gradient(p, step)
        moved, state = optimizer.update(g, state, p)
        trace = jax.tree.map(lambda m, g: 0.9 * m + g, trace, g['head'])
        chex.assert_trees_all_close(moved['head'], jax.tree.map(lambda m: -0.5 * m, trace))
        factor = min(1, 2 / norm(g['norm_0']))
        wanted = jax.tree.map(lambda g, factor=factor: -factor * g, g['norm_0'])
        chex.assert_trees_all_close(moved['norm_0'], wanted)


@pytest.mark.parametrize('momentum', [0.0, 0.8])
def test_rmsprop_by_hand(momentum, x64):
    numbers = {'square_decay': 0.75, 'epsilon': 1e-2, 'weight_decay': 0.1, 'momentum': momentum}
    falls = {'schedule': 'exponential', 'decay_rate': 0.5, 'decay_steps': 2}
    path = walk(rmsprop.make(8, 0.125, **falls, **numbers), 4)
    p = params()
    square, trace = jax.tree.map(jnp.ones_like, p), jax.tree.map(jnp.zeros_like, p)
    for step, got in enumerate(path):
        g = jax.tree.map(lambda x, g: g + 0.1 * x * (x.ndim > 1), p, gradient(p, step))
        square = jax.tree.map(lambda v, x: 0.75 * v + 0.25 * x * x, square, g)

        def push(m, x, v, rate=(0.125, 0.125, 0.0625, 0.0625)[step]):
            return momentum * m + rate * x / jnp.sqrt(v + 1e-2)

        trace = jax.tree.map(push, trace, g, square)
        p = jax.tree.map(jnp.subtract, p, trace)
        chex.assert_trees_all_close(got, p, rtol=1e-12)


def test_rmsprop_clips_gradient_and_decay_together_before_their_square():
    numbers = {'momentum': 0.0, 'weight_decay': 100.0, 'square_decay': 0.0, 'epsilon': 4.0}
    (last,) = walk(rmsprop.make(8, 1.0, 'constant', clip_norm=2.0, **numbers), 1)
    step = jax.tree.map(jnp.subtract, params(), last)
    # Undone: each of the clipped numbers g has become g / sqrt(g^2 + 4).
    clipped = jax.tree.map(lambda x: 2 * x / jnp.sqrt(1 - x * x), step)
    np.testing.assert_allclose(norm(clipped), 2, rtol=1e-5)


@pytest.mark.parametrize('clip', [0.0, 1.0])
@pytest.mark.parametrize('name', MAKES)
def test_step_has_a_finite_derivative_at_a_gradient_of_zero(name, clip):
    """MPL differentiates through the step, and a dead unit has a gradient of exactly 0."""
    optimizer, p = MAKES[name](8, 0.125, 'constant', clip_norm=clip), params()

    def step(g):
        return optimizer.update(g, optimizer.init(p), p)[0]

    for zero in (
        jax.tree.map(jnp.zeros_like, p),
        {**gradient(p, 0), 'norm_0': jax.tree.map(jnp.zeros_like, p['norm_0'])},
    ):
        moved, pull = jax.vjp(step, zero)
        (back,) = pull(jax.tree.map(jnp.ones_like, p))
        chex.assert_tree_all_finite((moved, back))


FULL = {'learning_rate': 0.125, 'warmup_steps': 2, 'weight_decay': 0.1}


@pytest.mark.parametrize('name', MAKES)
def test_trunk_rate_multiplies_every_step_of_all_but_the_head(name, x64):
    """From the same state, with decay and schedule; the state is that of the full rate."""
    full, slow = (MAKES[name](8, **FULL, backbone_rate=rate) for rate in (1.0, 0.25))
    p = params()
    full_state, slow_state = full.init(p), slow.init(p)
    for step in range(3):
        expected, full_state = full.update(gradient(p, step), full_state, p)
        got, slow_state = slow.update(gradient(p, step), slow_state, p)
        slowed = jax.tree.map(lambda change: 0.25 * change, expected['norm_0'])
        expected = expected | {'norm_0': slowed}
        chex.assert_trees_all_close(got, expected, rtol=1e-12)
        p = jax.tree.map(jnp.add, p, got)


@pytest.mark.parametrize('name', MAKES)
def test_frozen_trunk_keeps_every_bit_and_the_head_steps_as_if_it_were_alone(name):
    """Also where a weight is -0.0, and where the backbone's gradient is not finite or great."""
    start = params()
    start['norm_0']['scale'] = jnp.array([-0.0, 1e-37])

    def wild(p, step):
        g = gradient(p, step)
        return g | {
            'norm_0': {'scale': jnp.array([jnp.nan, 1e30]), 'bias': 1e9 * g['norm_0']['bias']}
        }

    optimizer = MAKES[name](8, **FULL, clip_norm=0.5, backbone_rate=0.0)
    alone = MAKES[name](8, **FULL, clip_norm=0.5)
    p, head = start, {'head': start['head']}
    opt_state, alone_state = optimizer.init(p), alone.init(head)
    for step in range(3):
        changes, opt_state = optimizer.update(wild(p, step), opt_state, p)
        p = jax.jit(optax.apply_updates)(p, changes)
        changes, alone_state = alone.update(
            {'head': gradient(head, step)['head']}, alone_state, head
        )
        head = optax.apply_updates(head, changes)
    chex.assert_trees_all_equal(p['head'], head['head'])
    assert np.abs(p['head']['kernel'] - start['head']['kernel']).max() > 1e-3
    for a, b in zip(*(jax.tree.leaves(tree['norm_0']) for tree in (p, start)), strict=True):
        assert np.array(a).tobytes() == np.array(b).tobytes()
    chex.assert_trees_all_equal_shapes(*map(jax.tree.leaves, (opt_state, alone_state)))


def test_frozen_trunk_costs_no_backward_pass():
    """Three matrix products of a step are left of nine: two forward, one for the head's kernel."""
    p = {name: jnp.eye(64) for name in ('head', 'one', 'two')}
    image = jnp.ones((64, 64))

    def loss(p):
        return jnp.sum(jnp.tanh(jnp.tanh(image @ p['one']) @ p['two']) @ p['head'])

    def step(p, opt_state, optimizer):
        return optimizer.update(jax.grad(loss)(p), opt_state, p)

    def products(rate):
        optimizer = sgd.make(8, 0.125, backbone_rate=rate)
        lowered = jax.jit(functools.partial(step, optimizer=optimizer)).lower(p, optimizer.init(p))
        return lowered.compile().cost_analysis()['flops'] / (2 * 64**3)

    assert products(0.0) < 3.5 and products(0.5) > 7


@pytest.mark.parametrize('rate', [0.0, 0.5])
def test_trunk_rate_without_a_head_is_refused(rate):
    with pytest.raises(ValueError, match='are for a network .* this one has Dense_0, norm; set'):
        backbone.scale(optax.sgd(0.1), rate).init({'Dense_0': jnp.ones(2), 'norm': jnp.ones(2)})
