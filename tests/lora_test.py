"""Low-rank adapters: the same network at first, the formula, what is trained, kept and exported."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath

from mpl.exports import model as exported
from mpl.models import cnn, lora, network, projected, vit
from mpl.models.lora import Lora
from mpl.models.network import Definition, Frozen, Variables
from mpl.optimizers import sgd
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import flops, folders, stages
from mpl.run import weights as start

pytestmark = pytest.mark.usefixtures('fast_compile')

IMAGE = np.random.default_rng(0).normal(size=(4, 8, 8, 3)).astype(np.float32)
KEY = jax.random.key(0)


@pytest.fixture(autouse=True)
def two_blocks(monkeypatch):
    monkeypatch.setitem(vit.SIZES, 'Ti', (24, 2, 3))


def define(rank=3, targets=(), alpha=6.0, model=None, **numbers):
    model = model or vit.make(5, 'Ti', patch=4, **numbers)
    return Definition(model, sgd.make(8, 0.1), lora=Lora(rank, alpha, targets))


def create(definition):
    return jax.jit(lambda image: network.create(definition, KEY, image, 0.0))(IMAGE)


def predict(frozen, image):
    return jax.jit(lambda v, x: network.predict(Frozen(frozen.definition, v), x).logits)(
        frozen.variables, image
    )


def drawn(definition):
    """A network whose adapters are not at 0."""
    net = create(definition)
    moved = jax.tree.map(
        lambda leaf: leaf + 0.1 * jnp.cos(jnp.arange(leaf.size)).reshape(leaf.shape),
        net.params['lora'],
    )
    return net.replace(params=net.params | {'lora': moved})


def names(definition):
    net = jax.eval_shape(lambda: network.create(definition, KEY, jnp.array(IMAGE), 0.0))
    return {'/'.join(path) for path in lora._layers(net.params['lora'])}


def test_adapters_leave_the_network_as_it_is_at_first():
    """In training too, and the other parameters are those that are drawn without adapters."""
    plain, adapted = define(rank=0), define()
    one, two = create(plain), create(adapted)
    chex.assert_trees_all_equal(one.params, {k: v for k, v in two.params.items() if k != 'lora'})

    def logits(definition, net):
        evaluated = network.predict(Frozen(definition, Variables(net.params, {})), IMAGE)
        return evaluated, network.forward(definition, net.params, {}, KEY, jnp.array(IMAGE))[0][0]

    outputs = [
        jax.jit(lambda n, d=d: logits(d, n))(net) for d, net in ((plain, one), (adapted, two))
    ]
    chex.assert_trees_all_equal(*outputs)
    assert names(adapted) == {
        f'block_{i}/{layer}' for i in range(2) for layer in ('qkv', 'out', 'dense_0', 'dense_1')
    }
    pair = two.params['lora']['block_0']['dense_1']
    chex.assert_shape((pair['down']['kernel'], pair['up']['kernel']), [(96, 3), (3, 24)])
    assert not np.any(pair['up']['kernel'])
    np.testing.assert_allclose(np.std(pair['down']['kernel']) * 96**0.5, 1, atol=0.2)


@pytest.mark.parametrize('numbers', [{'remat': True}, {'dtype': 'bfloat16'}])
def test_a_dense_layer_adds_the_product_of_its_adapters(numbers, x64):
    """Outputs, gradients and the outputs of layers are those with kernel W + alpha / rank A B."""
    definition = define(targets=('qkv', 'dense_.*'), **numbers)
    narrow = 'dtype' in numbers
    wide = jnp.float32 if narrow else jnp.float64
    params = jax.tree.map(lambda leaf: leaf.astype(wide), drawn(definition).params)
    image = jnp.asarray(IMAGE, wide)

    def by_hand(params):
        kernels = {name: layer for name, layer in params.items() if name != 'lora'}
        for block, layer_pairs in params['lora'].items():
            kernels[block] = dict(kernels[block])
            for name, pair in layer_pairs.items():
                product = 6.0 / 3 * pair['down']['kernel'] @ pair['up']['kernel']
                layer = kernels[block][name]
                kernels[block][name] = layer | {'kernel': layer['kernel'] + product}
        return kernels

    def logits(params):
        return network.predict(Frozen(definition, Variables(params, {})), image).logits

    def logits_by_hand(params):
        return definition.model.apply({'params': by_hand(params)}, image, False)[1]

    def compare(one, two):
        close = dict(rtol=0.1, atol=0.02) if narrow else dict(rtol=1e-9, atol=1e-11)
        chex.assert_trees_all_close(one, two, **close)

    weights = jnp.cos(jnp.arange(20.0)).reshape(4, 5)

    @jax.jit
    def slopes(params):
        return [
            jax.value_and_grad(lambda p, f=f: jnp.sum(weights * f(p)))(params)
            for f in (logits, logits_by_hand)
        ]

    @jax.jit
    def captured(params):
        found = network.capture(Frozen(definition, Variables(params, {})), image)
        plain = Definition(definition.model, None)
        wanted = network.capture(Frozen(plain, Variables(by_hand(params), {})), image)
        return [outputs['block_0/qkv'] for outputs in (found, wanted)]

    if narrow:
        compare(*jax.jit(lambda p: (logits(p), logits_by_hand(p)))(params))
    else:
        compare(*slopes(params))
        compare(*captured(params))
    merged = network.merge(Frozen(definition, Variables(params, {})))
    chex.assert_trees_all_close(merged.params, by_hand(params), rtol=1e-6)


def test_targets_are_parts_of_the_path_of_a_dense_layer():
    assert names(define(targets=('qkv',))) == {'block_0/qkv', 'block_1/qkv'}
    assert names(define(targets=('block_1',))) == {
        f'block_1/{layer}' for layer in ('qkv', 'out', 'dense_0', 'dense_1')
    }
    trunk = dict(name='vit', size='Ti', patch=4)
    wrapped = define(model=projected.make(5, trunk, (7,)), targets=('out', 'hidden'))
    assert names(wrapped) == {'trunk/block_0/out', 'trunk/block_1/out', 'hidden/dense_0'}


REFUSED = {
    "targets has 'conv_0', and .* below the head; it has block_0/dense_0, block_0/dense_1, ": dict(
        targets=('qkv', 'conv_0')
    ),
    'rank is 25, but the layer block_0/dense_0 has 24 inputs and 96 outputs; give at most 24': dict(
        rank=25
    ),
    r'no dense layers but the head, .* \(not for convolutions\)': dict(
        model=cnn.make(5, pool='mean')
    ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_adapters_without_a_place_are_refused(message):
    with pytest.raises(ValueError, match=message):
        names(define(**REFUSED[message]))


def make_config(algorithm='supervised', trained=('lora', 'head'), rank=2, **numbers):
    network = dict(
        model=dict(name='vit', size='Ti', patch=4),
        optimizer=dict(name='adamw', learning_rate=0.01, weight_decay=0.01, trained=trained),
        lora=dict(rank=rank),
    )
    source = dict(name='synthetic', classes=3, size=8, channels=3, examples=64, unlabeled=64)
    roles = ('teacher', 'student') if algorithm == 'mpl' else ('student',)
    sections = dict(
        steps=4,
        source=source,
        batch=dict(labeled=8, unlabeled=0 if algorithm == 'supervised' else 8),
        views=dict(name='images', mean=127.5, std=60.0),
        networks={role: network for role in roles},
        algorithm=dict(name=algorithm, ema_decay=0.9),
        every=dict(log=2, evaluate=4, save=2),
    )
    return configs.complete(sections | numbers)


def assemble(*given, devices=1, **numbers):
    return experiments.assemble(make_config(*given, **numbers), jax.devices()[:devices])


def test_adapters_and_what_trains_them_come_together():
    for numbers, message in {
        'all': (dict(trained=()), 'networks.student.optimizer.trained is all; set it to'),
        'head': (dict(trained=('head',)), r"optimizer.trained is \('head',\); set it to"),
        'none': (dict(rank=0), r'lora: with networks.<role>.lora.rank above 0'),
        'negative': (dict(rank=-1), 'give a rank of 0'),
    }.values():
        with pytest.raises(ValueError, match=message):
            assemble(**numbers)


def compiled(*given, **numbers):
    experiment = assemble(*given, **numbers)
    step = jax.jit(experiment.algorithm.update, donate_argnums=0)
    return experiment, step.lower(experiment.state, experiment.batch, 0, KEY).compile()


WAYS = {
    'all': ((), 0),
    'lora': (('lora', 'head'), 2),
    'head': (('head',), 0),
}


def test_memory_and_products_fall_with_what_is_trained():
    """Of the compiled step: state, activations that are kept for the backward pass, and FLOPs."""
    state, temporary, products = {}, {}, {}
    for name, (trained, rank) in WAYS.items():
        experiment, program = compiled('supervised', trained, rank)
        memory = program.memory_analysis()
        state[name] = memory.argument_size_in_bytes
        temporary[name] = memory.temp_size_in_bytes
        products[name] = flops.of_step(experiment)
    assert state['head'] < state['lora'] < 0.7 * state['all']
    assert temporary['head'] < 0.2 * temporary['lora']
    assert products['head'] < products['lora'] < 0.8 * products['all']


def test_mpl_trains_the_adapters_alone_with_a_state_over_two_devices():
    """Of both networks and of the average, with the exact feedback."""
    experiment = assemble('mpl', devices=2, mesh=dict(weights='data'))
    before = experiments.initialize(experiment)
    ones = jax.tree.map(lambda s: jnp.ones(s.shape, s.dtype), experiment.batch)
    state, metrics = jax.jit(experiment.algorithm.update)(before, ones, 20, KEY)
    chex.assert_tree_all_finite(metrics)
    networks = experiment.algorithm.networks
    for name, frozen in networks(state).items():
        old, new = networks(before)[name].variables.params, frozen.variables.params
        moved = jax.tree.map(lambda a, b: bool(np.any(np.array(a) != np.array(b))), old, new)
        layers = {layer for layer, leaves in moved.items() if any(jax.tree.leaves(leaves))}
        assert layers == {'lora', 'head'}, name


def test_a_run_resumes_to_the_same_bits_and_its_weights_are_merged_for_others(tmp_path):
    """For an export, for a run that starts from it, with adapters or without."""
    config, workdir = make_config(), epath.Path(tmp_path) / 'run'
    stages.run(config, workdir)
    experiment, state, _ = folders.load(workdir)
    (workdir / 'report.json').unlink()
    (workdir / 'checkpoints' / '4').rmtree()
    stages.run(config, workdir)
    chex.assert_trees_all_equal(folders.load(workdir)[1], state)

    frozen = experiment.algorithm.networks(state)['student_ema']
    image = experiment.source.test.read(np.arange(4))
    seen = experiment.views.evaluate(jnp.asarray(image))
    wanted = predict(frozen, seen)
    assert np.any(frozen.variables.params['lora']['block_0']['qkv']['up']['kernel'])
    model = exported.read(workdir, 'student_ema')
    assert 'lora' not in model.variables.params
    np.testing.assert_allclose(
        jax.jit(exported.make_forward(model))(image), wanted, rtol=1e-4, atol=1e-5
    )

    given = dict(workdir=str(workdir), network='student_ema')
    other = assemble(init_from=given)
    starts = start.find(other)
    chex.assert_trees_all_equal(starts['student'].params, model.variables.params)
    student = other.algorithm.networks(experiments.initialize(other, starts))['student']
    np.testing.assert_allclose(predict(student, seen), wanted, rtol=1e-4, atol=1e-5)
    assert start.find(assemble('supervised', (), 0, init_from=given)).keys() == {'student'}


def test_fine_tuning_after_a_run_keeps_adapters_only_where_it_trains_them(tmp_path):
    for trained, rank in (((), 0), (('lora', 'head'), 2)):
        optimizer = dict(name='sgd', learning_rate=0.01, trained=trained)
        experiment = assemble(finetune=dict(steps=2, labeled=8, optimizer=optimizer))
        stage = stages.finetune_config(experiment, epath.Path(tmp_path))
        assert stage.networks.student.lora.rank == rank
