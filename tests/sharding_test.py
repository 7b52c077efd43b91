"""A step of MPL is the same on every mesh, and moves between devices what it has to."""

import functools
import json
import os
import pathlib

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from mpl.algorithms import interface as algorithm
from mpl.algorithms import mpl
from mpl.augment import images
from mpl.data import batches
from mpl.models import efficientnet, network, wide_resnet
from mpl.parallel import sharding
from mpl.planning import collectives, hlo
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import loop

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


@functools.cache
def compile(model, parts, weights):
    """The compiled step in float64, and its state before and its batch, on the devices."""
    mesh = sharding.make_mesh(jax.devices() if parts else jax.devices()[:1], parts or 1)
    state, given = jax.tree.map(
        lambda x: jnp.asarray(x, float if jnp.issubdtype(x.dtype, jnp.floating) else x.dtype),
        (start(model), batch()),
    )
    places = sharding.layout(state, mesh, weights)
    step = jax.jit(make(model, mesh).update, out_shardings=(places, sharding.replicated(mesh)))
    state = jax.device_put(state, places)
    given = jax.device_put(given, sharding.rows(mesh, 0))
    return step.lower(state, given, 0, jax.random.key(0)).compile(), state, given


def train(model, parts, weights):
    """The state and metrics after some steps, as numpy arrays."""
    step, state, given = compile(model, parts, weights)
    for number in range(STEPS):
        state, metrics = step(state, given, number, jax.random.key(0))
    return jax.device_get((state, metrics))


# All of them with MPL_TEST_MESHES=all in the environment, which takes minutes more.
MESHES = [(1, 'data'), (2, 'data'), (4, 'model'), (8, 'whole')]
QUICK = [('wide_resnet', 4, 'model')]
CHOSEN = (
    [(model, *mesh) for model in MODELS for mesh in MESHES]
    if os.environ.get('MPL_TEST_MESHES') == 'all'
    else QUICK
)


@pytest.mark.parametrize('model, parts, weights', CHOSEN)
def test_a_step_is_the_same_on_every_mesh(model, parts, weights, x64, fast_compile):
    """Three steps in float64, with momentum and average: wrong gradients would show."""
    got, want = train(model, parts, weights), train(model, 0, 'whole')
    jax.tree_util.tree_map_with_path(
        lambda path, a, b: np.testing.assert_allclose(
            a, b, rtol=0, atol=1e-9 * max(1, np.abs(b).max()), err_msg=str(path)
        ),
        got,
        want,
    )


GOLDEN = pathlib.Path(__file__).parent / 'collectives.json'


@pytest.mark.parametrize('model, parts, weights', CHOSEN)
def test_what_devices_send_each_other_is_known(model, parts, weights, x64, fast_compile):
    """How often, and how many bytes, by kind. The file is from jaxlib 0.10.2, on CPUs, in float64.

    More collective-permutes than before: an image moves that did not, or a halo is exchanged twice. An
    all-gather or all-to-all more: images or activations are put together that should stay in parts, which a
    missing spatial.replicate_weights or spatial.shard_columns does. All-reduces are the gradients of weights, and batch norm's
    means, two for each layer and pass. Where fewer bytes do it: well done. Where jaxlib
    counts otherwise and the steps are still equal: MPL_TEST_WRITE=1 writes the file anew.
    """
    name = f'{model}, {8 // parts}x{parts}, weights {weights}'
    program = hlo.parse(compile(model, parts, weights)[0].as_text())
    found = {kind: list(both) for kind, both in collectives.count(program).items()}
    golden = json.loads(GOLDEN.read_text())
    if os.environ.get('MPL_TEST_WRITE'):
        golden[name] = found
        GOLDEN.write_text(json.dumps(dict(sorted(golden.items())), indent=1) + '\n')
    assert found == golden[name], 'see the docstring of this test for what a change means'


def views(parts):
    """What `update` is given of the third step, and where it and what is augmented lie, by name."""
    config = configs.complete(
        dict(
            steps=10,
            source=dict(name='synthetic', classes=3, size=16, channels=3, examples=64),
            batch=dict(labeled=8, unlabeled=16),
            views=dict(
                name='images', mean=128.0, std=64.0, strong=dict(name='affine', rotate=15.0)
            ),
            networks=dict(
                student=dict(model=dict(name='cnn'), optimizer=dict(name='sgd', learning_rate=0.1))
            ),
            algorithm=dict(name='uda'),
            mesh=dict(model=parts),
        )
    )
    experiment = experiments.assemble(config)
    found = {}

    def look(name, array):
        jax.debug.inspect_array_sharding(array, callback=lambda place: found.update({name: place}))
        return array

    def update(state, batch, step, key):
        jax.tree_util.tree_map_with_path(
            lambda path, leaf: look(path[-1].key, leaf), batch['unlabeled']
        )
        look('label', batch['labeled']['label'])
        return state, batch

    def unlabeled(key, image):
        return experiment.views.unlabeled(key, look('augmented', image))

    watched = experiment._replace(
        algorithm=experiment.algorithm._replace(update=update),
        views=experiment.views._replace(unlabeled=unlabeled),
    )
    steps, resident = loop.make_steps(watched), batches.resident(watched.pipeline)
    state = experiments.initialize(experiment)
    _, batch = steps(state, resident, batches.make_fetch(watched.pipeline, 1)(2), jax.random.key(0))
    return jax.device_get(batch), found, experiment.mesh


def test_devices_that_share_images_augment_a_part_of_them_each(fast_compile):
    """And give them to each other by columns; the views are those of a mesh where none is shared."""
    got, found, mesh = views(4)
    assert mesh.shape == {'data': 2, 'model': 4}

    def place(name, shape):
        return found[name].shard_shape(shape)

    assert place('augmented', (16, 16, 16, 3)) == (2, 16, 16, 3)
    assert place('weak', (16, 16, 16, 3)) == place('strong', (16, 16, 16, 3)) == (8, 16, 4, 3)
    assert place('index', (16,)) == (8,) and place('label', (8,)) == (4,)
    want, _, _ = views(1)
    chex.assert_trees_all_close(
        got, want, rtol=0, atol=1e-5
    )  # Less than a thousandth of a step of a pixel.


STRONG = {
    'affine': dict(rotate=15.0),
    'color': dict(hue=0.0, blurred=0.0),
    'randaugment': dict(operations=('Equalize', 'Rotate', 'Cutout')),
}


@pytest.mark.parametrize('name', STRONG)
def test_views_are_made_where_their_images_lie(name, fast_compile):
    """All that is sent is every view, once, from those who made it to those who share it."""
    mesh = sharding.make_mesh(jax.devices(), 4)
    strong = dict(name=name) | STRONG[name]
    views = images.make(0.0, 1.0, weak=dict(mirror=True, shift=2), strong=strong)

    def unlabeled(key, image):
        image = sharding.shard_over_devices(image, mesh)
        with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
            seen = views.unlabeled(key, image)
        return sharding.shard_over_groups(seen, mesh)

    image = jax.ShapeDtypeStruct((16, 8, 8, 3), jnp.uint8, sharding=sharding.rows(mesh, 0))
    program = jax.jit(unlabeled).lower(jax.random.key(0), image).compile()
    sent = collectives.count(hlo.parse(program.as_text()))
    assert sent == {'all-to-all': (2, 2 * 16 * 8 * 8 * 3 * 4 // mesh.size)}
