"""Which parameters an optimizer trains, and the rates of layers."""

import importlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import traverse_util

from mpl.models import vit
from mpl.optimizers import adamw, layers, parts, sgd


def shapes(name, **numbers):
    make = importlib.import_module(f'mpl.models.{name}').make
    image = jnp.zeros((1, 32, 32, 3))
    return jax.eval_shape(
        lambda: make(3, **numbers).init(jax.random.key(0), image, False)['params']
    )


@pytest.fixture
def two_blocks(monkeypatch):
    monkeypatch.setitem(vit.SIZES, 'Ti', (24, 2, 3))
    return shapes('vit', size='Ti')


def chosen(params, trained):
    found = traverse_util.flatten_dict(parts.find(params, trained))
    return {'/'.join(path) for path, is_trained in found.items() if is_trained}


def test_names_are_parts_of_paths_as_a_whole(two_blocks):
    head = {'head/dense/kernel', 'head/dense/bias'}
    assert chosen(two_blocks, ('head',)) == head
    everything = {'/'.join(path) for path in traverse_util.flatten_dict(two_blocks)}
    biases = {path for path in everything if path.endswith('/bias')}
    assert chosen(two_blocks, ('bias', 'head')) == head | biases
    assert 'block_1/norm_0/bias' in biases and len(biases) == 15
    last = {path for path in everything if path.startswith(('block_1/', 'norm/', 'head/'))}
    assert chosen(two_blocks, ('block_[1-9]', 'norm', 'head')) == last


def test_names_that_are_nowhere_and_no_expressions_are_refused(two_blocks):
    with pytest.raises(ValueError, match="trained has 'hed', .* of block_0, dense_0, bias, kernel"):
        parts.find(two_blocks, ('head', 'hed'))
    with pytest.raises(ValueError, match="'lora', .*lora: with networks.<role>.lora.rank above 0"):
        sgd.make(8, 0.1, trained=('lora',)).init(two_blocks)
    for name in ('(', 3):
        with pytest.raises(ValueError, match=r'is no name and no regular expression \('):
            sgd.make(8, 0.1, trained=(name,))
    with pytest.raises(ValueError, match='backbone_rate 0 trains the head alone, and trained is'):
        sgd.make(8, 0.1, backbone_rate=0.0, trained=('bias',))


def test_others_keep_every_bit_without_a_state_and_the_trained_step_as_if_alone():
    """With decay, a clipped norm and a rate of the backbone; the others' gradients are infinite."""
    numbers = dict(weight_decay=0.1, clip_norm=0.5, backbone_rate=0.5)
    params = {
        'body': {'kernel': jnp.array([[-0.0, 2.0]]), 'bias': jnp.array([1.0, 2.0])},
        'head': {'kernel': jnp.array([[3.0, 4.0]])},
    }
    alone = {'body': {'bias': params['body']['bias']}, 'head': params['head']}
    optimizer = adamw.make(8, 0.125, **numbers, trained=('bias', 'head'))
    single = adamw.make(8, 0.125, **numbers)
    state, single_state, start = optimizer.init(params), single.init(alone), params
    for step in range(3):
        gradient = jax.tree.map(lambda x, step=step: jnp.sin(x + step), params)
        gradient['body']['kernel'] = jnp.full((1, 2), jnp.inf)
        changes, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, changes)
        gradient = jax.tree.map(lambda x, step=step: jnp.sin(x + step), alone)
        changes, single_state = single.update(gradient, single_state, alone)
        alone = optax.apply_updates(alone, changes)
    chex.assert_trees_all_equal(params['head'], alone['head'])
    chex.assert_trees_all_equal(params['body']['bias'], alone['body']['bias'])
    assert params['body']['kernel'].tobytes() == start['body']['kernel'].tobytes()
    chex.assert_trees_all_equal_shapes(*map(jax.tree.leaves, (state, single_state)))


def test_held_parameters_have_no_gradient_and_no_tangent():
    params = {'body': jnp.ones(2), 'head': jnp.ones(2)}

    def loss(params):
        held = parts.hold(params, ('head',))
        return jnp.sum(held['body'] * held['head'])

    gradient = jax.grad(loss)(params)
    assert np.all(gradient['head'] == 1) and not np.any(gradient['body'])
    assert parts.hold(params, ()) is params
    assert (parts.names(0.0, ()), parts.names(0.5, ('bias',))) == (('head',), ('bias',))


def numbers_of(params):
    """The number of each outermost layer."""
    found = traverse_util.flatten_dict(layers.number(params))
    return {path[0]: number for path, number in found.items()}


def test_layers_are_counted_from_the_patches_to_the_head(two_blocks):
    assert numbers_of(two_blocks) == {
        **dict.fromkeys(('patches', 'token', 'positions'), 0),
        **{'block_0': 1, 'block_1': 2},
        **dict.fromkeys(('norm', 'head'), 3),
    }
    resnet = numbers_of(shapes('resnet', depth=18))
    assert resnet['stem'] == resnet['stem_norm'] == 0 and resnet['head'] == 9
    assert [resnet[f'group_{n}_block_{m}'] for n in range(4) for m in range(2)] == list(range(1, 9))
    efficient = numbers_of(shapes('efficientnet', width=0.1))
    assert (efficient['stem'], efficient['top'], efficient['head']) == (0, 17, 17)
    wrapped = layers.number({'trunk': two_blocks, 'hidden': {'dense_0': 1}, 'lora': two_blocks})
    assert wrapped['lora']['block_1'] == wrapped['trunk']['block_1']
    assert wrapped['trunk']['block_0']['qkv'] == {'bias': 1, 'kernel': 1}
    assert wrapped['hidden'] == {'dense_0': 3}
    ten = layers.number({f'block_{i}': 1 for i in range(11)})
    assert ten['block_10'] == 11 and ten['block_2'] == 3


def test_each_layer_has_the_rate_of_the_next_times_the_decay(two_blocks):
    """Weight decay included; with some of them frozen the rates are the same."""
    params = jax.tree.map(lambda s: jnp.full(s.shape, 2.0), two_blocks)
    gradient = jax.tree.map(jnp.ones_like, params)

    def step(**numbers):
        optimizer = sgd.make(8, 0.5, weight_decay=0.25, **numbers)
        return optimizer.update(gradient, optimizer.init(params), params)[0]

    full, decayed = step(), step(layer_decay=0.5)
    powers = jax.tree.map(lambda n, change: 0.5 ** (3 - n) * change, layers.number(params), full)
    chex.assert_trees_all_close(decayed, powers, rtol=1e-6)
    some = step(layer_decay=0.5, trained=('block_0', 'head'))
    chex.assert_trees_all_equal(some['block_0'], decayed['block_0'])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(some['block_1']))


def test_a_decay_of_layers_needs_layers():
    with pytest.raises(ValueError, match='needs layers with numbers .* has head, stem; set'):
        sgd.make(8, 0.1, layer_decay=0.5).init({'stem': jnp.ones(2), 'head': jnp.ones(2)})
    for given in (0.0, 1.5):
        with pytest.raises(ValueError, match=f'layer_decay is {given}; give a number above 0'):
            sgd.make(8, 0.1, layer_decay=given)
