"""Self-supervised rules: labels that change no features, targets without gradients, queues, collapse, devices."""

import functools
import shutil

import algorithms_test as contract
import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from etils import epath
from sklearn.datasets import load_digits

from mpl.algorithms import (
    byol,
    contrast,
    interface,
    pretraining,
    queues,
    simsiam,
    target_network,
)
from mpl.models import cnn, network, projector
from mpl.models.network import Definition
from mpl.optimizers import sgd
from mpl.parallel import sharding
from mpl.run import checkpoint, collapse, evaluation, report, stages
from mpl.run import config as configs
from mpl.run import experiment as experiments

pytestmark = pytest.mark.usefixtures('fast_compile')

RULES = [name for name in contract.MAKES if 'projector' in contract.roles(name)]
LABELED = ('supcon', 'mobyv2al')  # whose trunk learns from labels
QUEUED = ('moco', 'moby', 'mobyv2al')


def build(name, **numbers):
    numbers = {'ema_decay': 0.9} | contract.VARIANTS[name][0] | numbers
    learner = contract.build(name, numbers, norm=True)
    return learner, contract.start(name, 0.9, numbers, norm=True)


def without_head(state):
    """All of a state but the last layer of the trunk, its average and its optimizer."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {
        key: leaf for path, leaf in leaves if "'head'" not in (key := jax.tree_util.keystr(path))
    }


@pytest.mark.parametrize('name', RULES)
def test_labels_change_the_probe_and_not_a_bit_of_anything_else(name):
    learner, before = build(name)
    update = jax.jit(learner.update)
    batch, states = contract.make_batch(), []
    for label in ([0, 1, 0, 2], [0, 0, 2, 1]):
        labeled = batch['labeled'] | {'label': np.array(label, np.int32)}
        state, metrics = update(before, batch | {'labeled': labeled}, 0, contract.KEY)
        states.append(state)
    assert metrics['loss/labeled'] > 0
    same = [np.array_equal(a, b) for a, b in zip(*(without_head(s).values() for s in states))]
    assert all(same) == (name not in LABELED)
    heads = [s.nets['student'].params['head'] for s in states]
    assert contract.distance(*heads) > 1e-4


def test_labels_of_a_joint_form_change_the_trunk():
    learner, before = build('simclr', labeled_weight=1.0)
    update, batch = jax.jit(learner.update), contract.make_batch()
    other = batch['labeled'] | {'label': (batch['labeled']['label'] + 1) % contract.CLASSES}
    one, two = (
        update(before, batch | {'labeled': labeled}, 0, contract.KEY)[0].nets['student']
        for labeled in (batch['labeled'], other)
    )
    assert contract.distance(one.params['Dense_0'], two.params['Dense_0']) > 1e-4
    chex.assert_trees_all_equal(one.batch_stats, two.batch_stats)  # of the images alone


def test_the_same_step_without_labeled_images_leaves_the_last_layer():
    learner, before = build('byol')
    batch = {'unlabeled': contract.make_batch()['unlabeled']}
    start = learner.init(jax.random.key(0), batch, contract.SIZES)
    after, metrics = jax.jit(learner.update)(start, batch, 0, contract.KEY)
    assert 'loss/labeled' not in metrics
    params = after.nets['student'].params
    chex.assert_trees_all_equal(params['head'], start.nets['student'].params['head'])
    assert contract.distance(params['Dense_0'], start.nets['student'].params['Dense_0']) > 1e-4


def test_a_target_is_one_average_of_weights_and_of_the_statistics_of_images():
    """By hand over three steps: initial weights count, initial statistics, which are of no images, do not."""
    learner, state = build('moco', ema_decay=0.9)
    state = learner.init(jax.random.key(0), contract.make_batch(), contract.SIZES)
    update, kept, wanted = jax.jit(learner.update), 0.99, None  # of flax's batch norm
    for step in range(3):
        old, (state, _) = state.nets, update(state, contract.make_batch(step), step, contract.KEY)
        for role in ('student', 'projector'):
            params = jax.tree.map(
                lambda a, b: 0.9 * a + 0.1 * b, old[role].ema.params, state.nets[role].params
            )
            chex.assert_trees_all_close(state.nets[role].ema.params, params, rtol=1e-5, atol=1e-7)
        images = jax.tree.map(
            lambda a, b: (b - kept * a) / (1 - kept),
            *(nets['student'].batch_stats for nets in (old, state.nets)),
        )
        wanted = wanted or images
        wanted = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, wanted, images)
        found = state.nets['student'].ema.batch_stats
        chex.assert_trees_all_close(found, wanted, rtol=1e-3, atol=1e-4)
    byol, before = build('byol', ema_decay=0.9)
    after, _ = jax.jit(byol.update)(before, contract.make_batch(), 0, contract.KEY)
    assert after.nets['predictor'].ema is None


def test_keys_are_those_of_the_averaged_networks():
    """In evaluation mode: by hand, as the newest entries of the queue."""
    learner, before = build('moco')
    after, _ = jax.jit(learner.update)(before, contract.make_batch(), 0, contract.KEY)
    chain = {
        role: contract.Definition(module, sgd.make(2000, 0.25))
        for role, module in (
            ('student', contract.Tiny(norm=True)),
            ('projector', projector.make((6, 4), 'tanh', 'batch')),
        )
    }
    image = contract.make_batch()['unlabeled']['view_1']
    for role in chain:
        frozen = network.Frozen(chain[role], before.nets[role].ema)
        outputs = network.predict(frozen, image)
        image = outputs.features if role == 'student' else outputs.logits
    np.testing.assert_allclose(after.memory[0].keys, contrast.unit(image), rtol=1e-5, atol=1e-6)


def test_a_queue_replaces_its_oldest_keys_and_wraps():
    sizes = interface.Sizes(20, 20, 3)
    batch = {'unlabeled': {'index': np.arange(2)}}
    (queue,) = queues.make_memory(6)(jax.random.key(0), batch, 3, sizes)
    np.testing.assert_allclose(jnp.linalg.norm(queue.keys, axis=-1), 1, rtol=1e-5)
    keys = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    wanted, images = np.array(queue.keys), np.full(6, -1)
    for step in range(4):
        pushed, index = keys[2 * step : 2 * step + 2], np.array([7, 9], np.int32) + step
        queue = queues.push(queue, pushed, index)
        place = 2 * step % 6
        wanted[place : place + 2] = pushed / np.linalg.norm(pushed, axis=-1, keepdims=True)
        images[place : place + 2] = index
        np.testing.assert_allclose(queue.keys, wanted, rtol=1e-5)
        np.testing.assert_array_equal(queue.index, images)
        assert queue.place == (2 * step + 2) % 6


def make_queue(draw, index):
    keys = contrast.unit(jnp.asarray(draw.normal(size=(8, 3)), jnp.float32))
    return queues.Queue(keys, jnp.broadcast_to(index, 8).astype(jnp.int32), jnp.array(0))


def test_earlier_keys_of_its_own_image_are_no_negatives_of_a_query():
    """By hand, each query with the keys of other images alone; the first has two of its own, the last none."""
    draw = np.random.default_rng(0)
    q, k = draw.normal(size=(2, 3, 3)).astype(np.float32)
    index, queue = np.array([5, 6, 7]), make_queue(draw, np.array([5, 0, 6, 5, 1, 2, 3, 4]))
    each = [
        contrast.among_keys(q[n : n + 1], k[n : n + 1], queue.keys[queue.index != index[n]], 0.2)
        for n in range(3)
    ]
    found = queues.among_earlier(q, k, index, queue, 0.2)
    np.testing.assert_allclose(found, np.mean(each, 0), rtol=1e-5)
    assert abs(found[0] - contrast.among_keys(q, k, queue.keys, 0.2)[0]) > 1e-3


def test_both_losses_are_of_the_queues_before_either_is_changed():
    draw = np.random.default_rng(0)
    q, k = draw.normal(size=(2, 2, 4, 3)).astype(np.float32)
    index = jnp.arange(4)
    first, second = make_queue(draw, -1), make_queue(draw, -1)
    value, after, _ = queues.both_directions(q, k, index, (first, second), 0.2)
    one, _ = contrast.among_keys(q[0], k[1], second.keys, 0.2)
    other, _ = contrast.among_keys(q[1], k[0], first.keys, 0.2)
    np.testing.assert_allclose(value, one + other, rtol=1e-6)
    for view, queue in enumerate(after):
        np.testing.assert_allclose(queue.keys[:4], contrast.unit(k[view]), rtol=1e-6)


@pytest.mark.parametrize('name', RULES)
def test_one_device_computes_what_eight_do(name, x64):
    """Negatives, statistics and queues are of the global batch."""
    draw = np.random.default_rng(0)
    views = draw.normal(size=(2, 16, 2, 2, 1))
    index = np.arange(16, dtype=np.int32)
    batch = {
        'labeled': {'image': views[0, :8], 'label': index[:8] % 3, 'index': index[:8]},
        'unlabeled': {'view_0': views[0], 'view_1': views[1], 'index': index},
    }
    sizes, results = interface.Sizes(64, 64, contract.CLASSES), []
    for count in (1, 8):
        numbers = {'queue': 32} if name in QUEUED else {}
        learner = contract.build(name, numbers, shards=count, norm=True)
        mesh = sharding.make_mesh(jax.devices()[:count])
        state = jax.tree.map(
            lambda x: x.astype(float) if jnp.issubdtype(x.dtype, jnp.floating) else x,
            learner.init(jax.random.key(0), batch, sizes),
        )
        state = jax.device_put(state, sharding.replicated(mesh))
        given = jax.device_put(batch, sharding.rows(mesh, 0))
        update = jax.jit(learner.update, out_shardings=sharding.replicated(mesh))
        for step in range(2):
            state, metrics = update(state, given, step, jax.random.key(step))
        results.append(jax.device_get((state, metrics)))
    chex.assert_trees_all_close(*results, rtol=1e-7, atol=1e-9)


PIXELS = (load_digits().images[:1000, :, :, None] / 4 - 2).astype(np.float32)
STEPS = 120


def siamese(rule, last_norm):
    """Metrics by name of STEPS steps on noisy digits, each [STEPS]."""
    optimizer = sgd.make(STEPS, 0.1, 'constant')
    learner = rule.make(
        Definition(cnn.make(10, (8, 16), (1, 2), norm='batch', pool='mean'), optimizer),
        Definition(projector.make((32, 32), last_norm=last_norm), optimizer),
        Definition(projector.make((8, 32)), optimizer),
    )

    def draw(key):
        keys = jax.random.split(key, 3)
        image = jnp.asarray(PIXELS)[jax.random.randint(keys[0], (64,), 0, len(PIXELS))]
        noisy = [image + jax.random.normal(one, image.shape) for one in keys[1:]]
        return {'unlabeled': {'view_0': noisy[0], 'view_1': noisy[1]}}

    def step(state, number):
        key = jax.random.fold_in(jax.random.key(1), number)
        return learner.update(state, draw(key), number, key)

    @jax.jit
    def train(key):
        state = learner.init(key, draw(key), interface.Sizes(1000, 1000, 10))
        return jax.lax.scan(step, state, jnp.arange(STEPS))[1]

    return jax.device_get(train(jax.random.key(0)))


def warnings(metrics):
    """The kinds of findings in the lines that a run with these metrics writes, a window of 10 steps each."""
    lines = [
        {'step': end} | {name: float(np.mean(v[end - 10 : end])) for name, v in metrics.items()}
        for end in range(10, STEPS + 1, 10)
    ]
    found = collapse.find(lines, np.zeros(10), STEPS)
    return {finding.kind: finding.sentence for finding in found}


def targets_with_a_gradient(monkeypatch):
    """BYOL whose targets are the online network's own outputs."""
    forward, online = pretraining.forward, {}

    def remember(chain, params, *rest, **more):
        online.update(params)
        return forward(chain, params, *rest, **more)

    def encode(chain, state, key, statistics, *images):
        outputs, _ = forward(chain, online, pretraining.statistics(state), key, *images)
        return outputs['projector']

    monkeypatch.setattr(pretraining, 'forward', remember)
    monkeypatch.setattr(target_network, 'encode', encode)


@pytest.mark.parametrize('rule', [simsiam, byol], ids=['simsiam', 'byol'])
def test_without_its_stop_gradient_a_siamese_rule_collapses_and_the_run_warns(rule, monkeypatch):
    healthy = siamese(rule, 'none' if rule is byol else 'plain')
    assert not warnings(healthy) and healthy['embedding/spread'][-1] > 0.7
    if rule is byol:
        targets_with_a_gradient(monkeypatch)
    else:
        monkeypatch.setattr(jax.lax, 'stop_gradient', lambda x: x)
    collapsed = siamese(rule, 'none')
    assert collapsed['embedding/spread'][-1] < 0.2
    assert 'the embeddings collapse: spread 0.' in warnings(collapsed)['embeddings']


def line(step, spread, rank=9.0):
    return {
        'step': step, 'embedding/spread': spread, 'embedding/rank': rank, 'embedding/negative': 0.5
    }  # fmt: skip


def test_embeddings_are_reported_after_some_windows_in_a_row_or_at_the_end():
    def found(*lines):
        return [(f.kind, f.step) for f in collapse.find(list(lines), np.ones(3), 100)]

    low = [line(step, 0.3) for step in range(10, 90, 10)]
    assert found(*low) == [('embeddings', 50)]
    assert found(*low[:4], line(50, 0.9), *low[:4]) == []
    assert found(line(50, 0.9), line(100, 0.1)) == [('embeddings', 100)]
    assert found(line(100, 0.9, rank=1.5)) == [('embeddings', 100)]
    assert found(line(100, 0.9)) == []


def config(algorithm, roles, **more):
    def head(*widths):
        return dict(name='projector', widths=widths)

    models = {
        'student': dict(name='cnn', channels=(4, 8), strides=(2, 2), norm='batch', pool='mean'),
        'projector': head(8, 8),
        'predictor': head(4, 8),
    }
    given = dict(
        steps=6,
        source=dict(name='digits'),
        split=dict(labels=20, validation=40),
        batch=dict(labeled=8, unlabeled=16, evaluate=64),
        views=dict(
            name='pairs', mean=77.9, std=95.9, size=8, mirror=False, area=(0.5, 1.0),
            first=dict(name='affine', noise=20.0),
        ),
        networks={
            role: dict(model=models[role], optimizer=dict(name='sgd', learning_rate=0.05))
            for role in roles
        },
        algorithm=algorithm,
        every=dict(log=2, evaluate=6, save=2),
        steps_per_call=2,
    )  # fmt: skip
    return configs.complete(given | more)


ONE = ('student', 'projector')
MOCO = dict(name='moco', queue=32)


def test_a_run_resumes_to_the_same_bits_with_a_full_queue(tmp_path):
    """The queue is full after 2 of 6 steps; the run is continued from step 4."""
    given = config(MOCO, ONE)
    stages.run(given, epath.Path(tmp_path / 'whole'))
    shutil.copytree(tmp_path / 'whole', tmp_path / 'again')
    again = tmp_path / 'again'
    (again / 'report.json').unlink()
    shutil.rmtree(again / 'checkpoints' / '6')
    lines = (again / 'metrics.jsonl').read_text().splitlines()
    (again / 'metrics.jsonl').write_text('\n'.join(lines[:2]) + '\n')
    found = stages.run(given, epath.Path(again))
    experiment = experiments.assemble(given)
    states = []
    for folder in ('whole', 'again'):
        with checkpoint.open_folder(epath.Path(tmp_path / folder / 'checkpoints')) as manager:
            states.append(checkpoint.read_back(manager, 6, experiment.state))
    chex.assert_trees_all_equal(*states)
    assert states[0].memory[0].place == 0 and found['networks']['student_target']['test']


def test_a_run_without_any_label_says_that_there_is_nothing_to_measure(tmp_path):
    workdir = epath.Path(tmp_path / 'run')
    batch = dict(labeled=0, unlabeled=16, evaluate=64)
    found = stages.run(config(dict(name='simclr'), ONE, batch=batch, steps=2), workdir)
    assert set(found['networks']['student']) == {'parameters'}
    shown = report.show(found, 'x')
    assert 'no label was used in training, so the last layer is random' in shown
    assert 'validation/' not in (workdir / 'metrics.jsonl').read_text()
    with pytest.raises(ValueError, match='trained without labels: its last layer is random'):
        evaluation.evaluate(workdir, 'test', [])


@pytest.mark.parametrize(
    'algorithm, more, sentence',
    [
        (dict(name='moco', queue=40), {}, 'queue is 40; give a multiple of batch.unlabeled, which is 16'),
        (dict(name='moco', queue=1600), {}, 'queue is 1600, more than the 1157 unlabeled images'),
        (dict(name='moco', queue=32, keys='all'), {}, "keys 'all' is unknown; choose one of averaged, batch"),
        (dict(name='moco', queue=32, ema_decay=0.0), {}, 'ema_decay is 0.0; give the decay of the target'),
        (dict(name='moco', queue=32, ema_decay=1.0), {}, 'ema_decay is 1.0; give the decay of the target'),
        (
            dict(name='simclr'),
            dict(batch=dict(labeled=8, unlabeled=1600)),
            'batch.unlabeled is 1600, more than the 1157 unlabeled images',
        ),
        (MOCO, dict(batch=dict(labeled=8, unlabeled=0)), "moco learns from 'unlabeled' images"),
        (MOCO, dict(batch=dict(labeled=8, unlabeled=8)), ''),
        (dict(name='simclr', temperature=1e-5), {}, 'temperature is 1e-05; give'),
        (
            dict(name='simclr'),
            dict(views=dict(name='images', mean=1.0, std=1.0)),
            "takes the view 'view_0' of unlabeled images, but views.name 'images' gives strong, weak; set views.name",
        ),
        (
            dict(name='simclr'),
            dict(views=dict(name='pairs', mean=1.0, std=1.0, parts=1)),
            "takes the view 'view_1'",
        ),
        (
            dict(name='simclr'),
            dict(views=dict(name='pairs', mean=1.0, std=1.0, size=8, parts=3, small_parts=1, small_size=4)),
            'simclr does not use small_0, view_2 of small_0, view_0, view_1, view_2; give a smaller views.parts',
        ),
        (
            dict(name='dino'),
            dict(views=dict(name='pairs', mean=1.0, std=1.0, parts=3)),
            'dino does not use view_2 of',
        ),
        (
            MOCO | dict(ema_steps=5),
            dict(steps=6),
            'ema_steps is 5 and steps is 6: the target network would not change after step 5; give 6 or',
        ),
        (MOCO | dict(ema_steps=6), dict(steps=6), ''),
        (
            dict(name='supcon'),
            dict(batch=dict(labeled=0, unlabeled=16)),
            "supcon learns from 'labeled' images, but batch.labeled is 0",
        ),
        (
            dict(name='simclr', labeled_weight=1.0),
            dict(batch=dict(labeled=0, unlabeled=16)),
            "simclr learns from 'labeled' images, but batch.labeled is 0",
        ),
        (
            dict(name='simclr'),
            dict(batch=dict(labeled=0, unlabeled=0)),
            'batch.labeled and batch.unlabeled are 0; give one of them',
        ),
    ],
)  # fmt: skip
def test_bad_input_is_a_sentence_before_anything_is_compiled(algorithm, more, sentence):
    assemble = functools.partial(
        experiments.assemble, config(algorithm, ONE, **more), jax.devices()[:1]
    )
    if not sentence:
        assemble()
        return
    with pytest.raises(ValueError, match=sentence):
        assemble()


@pytest.mark.parametrize('name', ['byol', 'simsiam', 'moby', 'moco_v3'])
@pytest.mark.parametrize('width', [1, 3])
def test_a_predictor_of_another_width_than_the_projector_is_refused(name, width):
    """One output would be broadcast, and give a number."""
    rule = dict(name=name) | (dict(queue=32) if name in QUEUED else {})
    given = config(rule, (*ONE, 'predictor')).to_dict()
    given['networks']['predictor']['model']['widths'] = (4, width)
    sentence = f'The predictor has {width} outputs, and the projector, .*widths a last entry of 8'
    with pytest.raises(ValueError, match=sentence):
        experiments.assemble(configs.complete(given), jax.devices()[:1])


def test_a_batch_of_one_and_views_of_other_rules_are_refused():
    given = config(dict(name='simclr'), ONE, batch=dict(labeled=1, unlabeled=1))
    with pytest.raises(ValueError, match='batch.unlabeled is 1, but self-supervised rules compare'):
        experiments.assemble(given, jax.devices()[:1])
    given = config(dict(name='fixmatch'), ('student',))
    with pytest.raises(ValueError, match="fixmatch takes the view 'weak' .* gives view_0, view_1"):
        experiments.assemble(given, jax.devices()[:1])


def test_crops_larger_than_the_images_are_refused(tmp_path):
    given = config(dict(name='simclr'), ONE, views=dict(name='pairs', mean=1.0, std=1.0, size=16))
    with pytest.raises(
        ValueError, match='view_0 have 16 pixels, more than the images of 8 x 8; give'
    ):
        stages.run(given, epath.Path(tmp_path / 'run'))
    assert not (tmp_path / 'run').exists()


def test_small_crops_are_views_of_the_student_alone():
    """Each of two targets is compared with one other view and two small ones."""
    views = dict(name='pairs', mean=77.9, std=95.9, size=8, small_parts=2, small_size=4)
    given = config(dict(name='dino'), ONE, views=views)
    experiment = experiments.assemble(given, jax.devices()[:1])
    shapes = {name: view.shape for name, view in experiment.batch['unlabeled'].items()}
    assert shapes['small_1'] == (16, 4, 4, 1) and shapes['view_1'] == (16, 8, 8, 1)
    without = experiment.batch['unlabeled'].copy()
    del without['small_0'], without['small_1']
    costs = []
    for unlabeled in (experiment.batch['unlabeled'], without):
        step = jax.make_jaxpr(experiment.algorithm.update)(
            experiment.state, {'unlabeled': unlabeled}, 0, jax.random.key(0)
        )
        costs.append(str(step).count('dot_general'))
    assert costs[0] > costs[1]


def test_running_statistics_are_of_the_large_views_alone():
    """Of the student and, which would see the difference, of its average."""
    learner, _ = build('dino')
    batch = contract.make_batch()
    small = {name: 3 + batch['unlabeled']['view_0'] for name in ('small_0', 'small_1')}
    both = batch | {'unlabeled': batch['unlabeled'] | small}
    start = learner.init(jax.random.key(0), batch, contract.SIZES)
    nets = [
        jax.jit(learner.update)(start, given, 0, contract.KEY)[0].nets['student']
        for given in (batch, both)
    ]
    chex.assert_trees_all_close(*(net.batch_stats for net in nets), rtol=1e-6)
    chex.assert_trees_all_close(*(net.ema.batch_stats for net in nets), rtol=1e-6)
    assert contract.distance(nets[0].params, nets[1].params) > 1e-4


def test_a_probe_needs_a_last_layer_by_its_name():
    given = config(dict(name='simclr'), ONE).to_dict()
    given['networks']['student']['model'] = dict(name='mlp')
    with pytest.raises(
        ValueError, match='online probe are for a network whose last layer is named'
    ):
        experiments.assemble(configs.complete(given), jax.devices()[:1])
