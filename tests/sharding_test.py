"""A step of MPL is the same on every mesh, and moves between devices what it has to."""

import functools
import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpl import algorithm, network, sharding
from mpl.algorithms import mpl
from mpl.models import efficientnet, wide_resnet

MODELS = {
    'wide_resnet': lambda: wide_resnet.make(3, depth=10, width=1),
    'efficientnet': lambda: efficientnet.make(3, width=0.25, depth=0.1, small_image=True),
}
SIZES = algorithm.Sizes(16, 16, 3)
STEPS = 3


def batch():
    random = np.random.default_rng(0)
    images = [random.normal(size=(8, 16, 16, 3)) for _ in range(3)]
    index = np.arange(8, dtype=np.int32)
    return {
        'labeled': {'image': images[0], 'index': index, 'label': index % 3},
        'unlabeled': {'weak': images[1], 'strong': images[2], 'index': index},
    }


def make(model, mesh):
    definition = network.Definition(
        MODELS[model](), optax.sgd(0.1, momentum=0.9), mesh.abstract_mesh
    )
    return mpl.make(definition, definition, ema_decay=0.9, uda_threshold=0.0)


@functools.cache
def start(model):
    learner = make(model, sharding.make_mesh(jax.devices()[:1]))
    return jax.jit(learner.init, static_argnums=2)(jax.random.key(0), batch(), SIZES)


def compile(model, mesh, weights, dtype):
    """The compiled step, and its state before and its batch, on the devices."""
    state, given = jax.tree.map(
        lambda x: jnp.asarray(x, dtype if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype),
        (start(model), batch()),
    )
    places = sharding.layout(state, mesh, weights)
    step = jax.jit(make(model, mesh).update, out_shardings=(places, sharding.replicated(mesh)))
    state = jax.device_put(state, places)
    given = jax.device_put(given, sharding.rows(mesh, 0))
    return step.lower(state, given, 0, jax.random.key(0)).compile(), state, given


def train(model, mesh, weights, dtype):
    """The state and metrics after some steps, as numpy arrays."""
    step, state, given = compile(model, mesh, weights, dtype)
    for number in range(STEPS):
        state, metrics = step(state, given, number, jax.random.key(0))
    return jax.device_get((state, metrics))


@functools.cache
def on_one_device(model):
    return train(model, sharding.make_mesh(jax.devices()[:1]), 'whole', 'float64')


# All of them with MPL_TEST_MESHES=all in the environment, which takes minutes more.
MESHES = [(1, 'data'), (2, 'data'), (4, 'model'), (8, 'whole')]
QUICK = [('wide_resnet', 2, 'data'), ('wide_resnet', 4, 'model'), ('efficientnet', 8, 'whole')]
CHOSEN = (
    [(model, *mesh) for model in MODELS for mesh in MESHES]
    if os.environ.get('MPL_TEST_MESHES') == 'all'
    else QUICK
)


@pytest.mark.parametrize('model, parts, weights', CHOSEN)
def test_a_step_is_the_same_on_every_mesh(model, parts, weights, x64, haste):
    """Three steps in float64, with momentum and average: wrong gradients would show."""
    mesh = sharding.make_mesh(jax.devices(), parts)
    got, want = train(model, mesh, weights, 'float64'), on_one_device(model)
    jax.tree_util.tree_map_with_path(
        lambda path, a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-9 * max(1, np.abs(b).max()), err_msg=str(path)
        ),
        got,
        want,
    )
