"""Runs that start from the weights of a file or of another run."""

import importlib
import pathlib
import shutil

import chex
import jax
import jax.numpy as jnp
import ml_collections
import numpy as np
import pytest
import safetensors.numpy
from etils import epath

from mpl.data import batches
from mpl.models import cnn, torch, vit
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import folders, loop, stages
from mpl.run import weights as start

pytestmark = pytest.mark.usefixtures('fast_compile')

IMAGE = jnp.zeros((1, 8, 8, 1))
MODELS = pathlib.Path(cnn.__file__).parent


def timm_name(path):
    """As if timm had this network: ('stage_0', 'conv', 'kernel') -> 'stage_0.conv.weight'."""
    return '.'.join([*path[:-1], torch.LEAVES[path[-1]]])


def from_timm(model, tensors):
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGE, False))
    return torch.read(shapes, tensors, timm_name)


def make_tensors(classes):
    """What a file with the weights of such a network has, drawn at random."""
    made = cnn.make(classes, channels=(4, 6), strides=(2, 2), norm='batch', pool='mean')
    shapes = jax.eval_shape(lambda: made.init(jax.random.key(0), IMAGE, False))
    tensors, draw = {}, np.random.default_rng(0)
    for path, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        shape = [leaf.shape[leaf.ndim - 1 - i] for i in range(leaf.ndim)]
        if leaf.ndim == 4:
            shape[2:] = leaf.shape[:2]
        name = timm_name(tuple(key.key for key in path[1:]))
        tensors[name] = draw.uniform(0.5, 1, shape).astype(np.float32)
    return tensors | {'stage_0.norm.num_batches_tracked': np.array(7)}


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A file for `cnn` with a head of 7 classes, and one of its tensors in half precision."""
    monkeypatch.setattr(cnn, 'from_timm', from_timm, raising=False)
    tensors = make_tensors(7)
    tensors['stage_1.conv.weight'] = tensors['stage_1.conv.weight'].astype(np.float16)
    return save(tmp_path / 'weights.safetensors', tensors)


def save(path, tensors):
    safetensors.numpy.save_file(tensors, str(path))
    return str(path)


def make_config(roles=('student',), algorithm='supervised', classes=10, optimizer={}, **numbers):
    network = dict(
        model=dict(name='cnn', channels=(4, 6), strides=(2, 2), norm='batch', pool='mean'),
        optimizer=dict(name='sgd', learning_rate=0.1, weight_decay=0.01) | optimizer,
    )
    return configs.complete(
        ml_collections.ConfigDict(
            dict(
                steps=4,
                source=dict(
                    name='synthetic', classes=classes, size=8, channels=1, examples=64, unlabeled=64
                ),
                batch=dict(labeled=8, unlabeled=8 if algorithm == 'mpl' else 0),
                views=dict(name='images', mean=127.5, std=60.0),
                networks={role: network for role in roles},
                algorithm=dict(name=algorithm, ema_decay=0.9),
                every=dict(log=2, evaluate=4, save=2),
            )
            | numbers
        ).to_dict()
    )


def assemble(**numbers):
    return experiments.assemble(make_config(**numbers), jax.devices()[:1])


def backbone(params):
    return {name: layer for name, layer in params.items() if name != 'head'}


def assert_same_bits(got, wanted):
    for a, b in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
        assert np.array(a).tobytes() == np.array(b).tobytes()


MPL = dict(roles=('teacher', 'student'), algorithm='mpl')


def test_every_network_starts_from_the_file_with_a_head_of_its_own(file):
    """The heads are those of a run from random weights, and so are the optimizers' states."""
    experiment = assemble(**MPL, init_from=dict(file=file, head='new'))
    starts = start.find(experiment)
    state, drawn = experiments.initialize(experiment, starts), experiments.initialize(experiment)
    tensors = safetensors.numpy.load_file(file)
    for net in (state.teacher, state.student, state.student.ema):
        for got, name in (
            (net.params['stage_0']['conv']['kernel'].transpose(3, 2, 0, 1), 'stage_0.conv.weight'),
            (net.params['stage_1']['conv']['kernel'].transpose(3, 2, 0, 1), 'stage_1.conv.weight'),
            (net.params['stage_1']['norm']['scale'], 'stage_1.norm.weight'),
            (net.batch_stats['stage_0']['norm']['mean'], 'stage_0.norm.running_mean'),
            (net.batch_stats['stage_0']['norm']['var'], 'stage_0.norm.running_var'),
        ):
            np.testing.assert_array_equal(got, tensors[name].astype(np.float32))
    for role in ('teacher', 'student'):
        net, random = getattr(state, role), getattr(drawn, role)
        chex.assert_trees_all_equal(net.params['head'], random.params['head'])
        chex.assert_trees_all_equal(net.opt_state, random.opt_state)
    chex.assert_trees_all_equal(state.student.ema.params, state.student.params)
    kernels = [net.params['head']['dense']['kernel'] for net in (state.teacher, state.student)]
    assert np.abs(kernels[0] - kernels[1]).min() > 0
    assert start.describe(experiment, 'teacher', starts['teacher']) == (
        f'teacher starts from 272 parameters of {file}, with a new head for 10 classes.'
    )


def test_only_the_networks_that_are_named_start_from_it(file):
    experiment = assemble(**MPL, init_from=dict(file=file, head='new', networks=('teacher',)))
    state = experiments.initialize(experiment, start.find(experiment))
    drawn = experiments.initialize(experiment)
    chex.assert_trees_all_equal(state.student, drawn.student)
    assert np.all(state.teacher.batch_stats['stage_0']['norm']['mean'] > 0)


def test_head_is_kept_where_the_classes_are_as_many(file):
    experiment = assemble(classes=7, init_from=dict(file=file))
    (found,) = start.find(experiment).values()
    state = experiments.initialize(experiment, {'student': found})
    chex.assert_trees_all_equal(state.params, found.params)
    wanted = safetensors.numpy.load_file(file)['head.dense.weight'].T
    np.testing.assert_array_equal(state.params['head']['dense']['kernel'], wanted)
    assert start.describe(experiment, 'student', found).endswith(f'321 parameters of {file}.')


def without(name):
    return lambda tensors: {k: v for k, v in tensors.items() if not k.startswith(name)}


REFUSED = {
    "give 'keep' or 'new'": (dict(head='old'), None),
    "has 'critic'; this run has student": (dict(networks=('critic',)), None),
    'both a workdir and a file': (dict(workdir='runs/x'), None),
    'head/dense/bias is .7,. there and .10,. here; set init_from.head to .new': ({}, None),
    'head/dense/bias is missing there and .10,. here; set': ({}, without('head')),
    'stage_0.conv.weight': (dict(head='new'), without('stage_0.conv')),
    'extra.weight': (dict(head='new'), lambda t: t | {'extra.weight': np.ones(3, np.float32)}),
    r'stage_0.norm.bias has the shape \(5,\)': (
        dict(head='new'),
        lambda t: t | {'stage_0.norm.bias': np.ones(5, np.float32)},
    ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_weights_that_do_not_fit_are_refused_with_one_sentence(message, file, tmp_path):
    init_from, change = REFUSED[message]
    if change is not None:
        file = save(file, change(safetensors.numpy.load_file(file)))
    config = make_config(init_from=dict(file=file) | init_from)
    with pytest.raises(ValueError, match=message) as caught:
        stages.run(config, epath.Path(tmp_path) / 'run')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'run').exists()


def test_file_that_is_none_and_model_that_timm_lacks_are_refused(tmp_path):
    garbage = tmp_path / 'garbage.safetensors'
    garbage.write_bytes(b'no weights at all')
    for path in (garbage, tmp_path / 'none.safetensors'):
        with pytest.raises(ValueError, match=f'init_from.file {path} cannot be read'):
            start.find(assemble(init_from=dict(file=str(path))))
    file = save(tmp_path / 'good.safetensors', make_tensors(7))
    with pytest.raises(ValueError, match='mpl.models.cnn has no from_timm'):
        start.find(assemble(init_from=dict(file=file)))


def test_probe_leaves_trunk_and_statistics_as_they_came_and_resumes_without_the_file(
    file, tmp_path
):
    """A whole run in evaluation mode with a frozen backbone, and the same once more from its middle."""
    config = make_config(optimizer=dict(backbone_rate=0.0), init_from=dict(file=file, head='new'))
    config = config.to_dict()
    config['networks']['student']['evaluation_mode'] = True
    config, workdir = configs.complete(config), epath.Path(tmp_path) / 'run'
    stages.run(config, workdir)
    experiment, state, _ = folders.load(workdir)
    (found,) = start.find(experiment).values()
    for net in (state, state.ema):
        assert_same_bits(backbone(net.params), found.params)
        assert_same_bits(net.batch_stats, found.batch_stats)
    random = experiments.initialize(experiment).params['head']['dense']['kernel']
    assert np.abs(state.params['head']['dense']['kernel'] - random).max() > 1e-4

    shutil.rmtree(workdir / 'checkpoints' / '4')
    (workdir / 'report.json').unlink()
    pathlib.Path(file).unlink()
    config = config.copy_and_resolve_references().unlock()
    config.init_from.file = '/moved/elsewhere.safetensors'
    stages.run(config, workdir)
    assert_same_bits(folders.load(workdir)[1], state)


def test_frozen_trunk_in_training_mode_still_moves_the_statistics(file):
    experiment = assemble(optimizer=dict(backbone_rate=0.0), init_from=dict(file=file, head='new'))
    state = experiments.initialize(experiment, start.find(experiment))
    steps, resident = loop.make_steps(experiment), batches.resident(experiment.pipeline)
    before = jax.device_get(state)
    after, _ = steps(
        state, resident, batches.make_fetch(experiment.pipeline, 2)(0), jax.random.key(0)
    )
    assert_same_bits(backbone(after.params), backbone(before.params))
    moved = (
        after.batch_stats['stage_0']['norm']['mean'] - before.batch_stats['stage_0']['norm']['mean']
    )
    assert np.abs(moved).min() > 1e-3


def test_other_run_with_other_classes_and_another_image_size(tmp_path, monkeypatch):
    """A new head on request; a model that has parameters for one size adapts them."""
    workdir = epath.Path(tmp_path) / 'run'
    stages.run(make_config(classes=3), workdir)
    wanted = folders.load(workdir)[1]
    init_from = dict(workdir=str(workdir))
    with pytest.raises(ValueError, match=r'is \(3,\) there and \(10,\) here; set init_from.head'):
        start.find(assemble(init_from=init_from))
    experiment = assemble(init_from=init_from | dict(head='new'))
    (found,) = start.find(experiment).values()
    assert_same_bits(found.params, backbone(wanted.params))
    assert_same_bits(found.batch_stats, wanted.batch_stats)
    resized = []
    monkeypatch.setattr(
        cnn, 'resize', lambda params, shape: resized.append(shape) or params, raising=False
    )
    start.find(experiment)
    assert resized == [(8, 8, 1)]


def test_position_embeddings_of_another_image_size():
    params = {
        'patches': {'kernel': np.zeros((4, 4, 3, 2))},
        'token': np.zeros((1, 1, 2)),
        'positions': np.random.default_rng(0).normal(size=(1, 1 + 9, 2)).astype(np.float32),
    }
    resized = vit.resize(params, (8, 16, 3))
    chex.assert_shape(resized['positions'], (1, 1 + 2 * 4, 2))
    assert resized['patches'] is params['patches']
    np.testing.assert_array_equal(resized['positions'][:, 0], params['positions'][:, 0])
    same = vit.resize(params, (12, 12, 3))
    np.testing.assert_array_equal(same['positions'], params['positions'])


# mlp keeps its unnamed layers, which its results on the two moons were drawn with; projectors have
# no classes.
HEADED = sorted(
    p.stem
    for p in MODELS.glob('*.py')
    if 'def make(' in p.read_text() and p.stem not in ('mlp', 'projector')
)
NEEDED = {'projected': dict(trunk=dict(name='cnn', pool='mean'), widths=(5,))}


@pytest.mark.parametrize('name', HEADED)
def test_what_depends_on_the_number_of_classes_is_the_head_alone(name):
    """The rule by which a new head is drawn, and the backbone's rate leaves the head alone."""

    def shapes(classes):
        model = importlib.import_module(f'mpl.models.{name}').make(classes, **NEEDED.get(name, {}))
        image = jnp.zeros((1, 32, 32, 3))
        made = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
        return {
            jax.tree_util.keystr(k): v.shape for k, v in jax.tree_util.tree_leaves_with_path(made)
        }

    few, many = shapes(2), shapes(3)
    assert few.keys() == many.keys()
    assert {k for k in few if few[k] != many[k]} == {
        k for k in few if k.startswith("['params']['head']")
    }
