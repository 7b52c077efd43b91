"""Runs that train their initial weights first: resumed to equal bits, refused before any training."""

import shutil

import jax
import numpy as np
import pytest
from etils import epath

from mpl.data import stream
from mpl.models import network
from mpl.run import checks, folders, loop, measure, metrics, neighbors, smoke, stages, weights
from mpl.run import config as configs
from mpl.run import experiment as experiments


@pytest.fixture(scope='module', autouse=True)
def hasty():
    """Small programs, compiled fast."""
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    jax.config.update('jax_disable_most_optimizations', False)


CNN = dict(name='cnn', channels=(4, 6), strides=(2, 2), norm='batch', pool='mean')
SGD = dict(name='sgd', learning_rate=0.1)
HEAD = dict(model=dict(name='projector', widths=(5, 4)), optimizer=SGD)


def given(**more):
    """What both stages share; the first one has all but what `stage` gives."""
    return (
        dict(
            steps=4,
            source=dict(name='digits'),
            split=dict(labels=20, validation=100),
            batch=dict(labeled=16, unlabeled=16, evaluate=256),
            views=dict(name='pairs', mean=77.9, std=95.9, mirror=False, first=dict(name='affine')),
            networks=dict(student=dict(model=CNN, optimizer=SGD), projector=HEAD),
            algorithm=dict(name='simclr'),
            every=dict(log=2, evaluate=4, save=2),
            steps_per_call=2,
        )
        | more
    )


def pretraining(**more):
    kept = given(**more)
    return {key: value for key, value in kept.items() if key not in ('source', 'split')}


PROBE = dict(every=2, neighbors=5, bank=15)


def start(model=CNN, pretrain=None, seed=0, **init_from):
    """A config of labels only from such a pre-training."""
    return configs.complete(
        given(
            seed=seed,
            batch=dict(labeled=16, evaluate=256),
            views=dict(name='images', mean=77.9, std=95.9),
            networks=dict(student=dict(model=model, optimizer=SGD)),
            algorithm=dict(name='supervised', ema_decay=0.9),
            probe=PROBE,
            init_from=dict(config=pretrain or pretraining(), head='new') | init_from,
        )
    )


MIDDLE = dict(name='projected', trunk=CNN, widths=(5,))


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    workdir = epath.Path(tmp_path_factory.mktemp('runs')) / 'unbroken'
    stages.run(start(MIDDLE, projector=1), workdir)
    return workdir


def states(workdir):
    return [jax.tree.map(np.array, folders.load(workdir / name)[1]) for name in ('', 'pretrain')]


def probed(workdir):
    """The lines of neighbors on validation."""
    lines = metrics.read(workdir / 'metrics.jsonl')
    name = 'validation/student/neighbors_accuracy'
    return [(line['step'], line[name], line[name.replace('student', 'student_ema')])
            for line in lines if name in line]  # fmt: skip


def same(one, other):
    return all(
        np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True)
    )


def test_start_is_the_trunk_and_the_first_layers_of_the_projector(unbroken):
    experiment = experiments.assemble(start(MIDDLE, projector=1))
    starts = weights.find(experiment, unbroken / 'pretrain')
    net = experiments.initialize(experiment, starts)
    other, before, _ = folders.load(unbroken / 'pretrain')
    trunk, head = before.nets['student'], before.nets['projector']
    for got, wanted in (
        (net.params['trunk']['stage_1'], trunk.params['stage_1']),
        (net.params['hidden'], {k: head.params[k] for k in ('dense_0', 'norm_0')}),
        (net.batch_stats, {'trunk': trunk.batch_stats, 'hidden': head.batch_stats}),
    ):
        assert same(got, wanted)
    assert set(net.params) == {'trunk', 'hidden', 'head'}
    assert set(net.params['trunk']) == {'stage_0', 'stage_1'}  # No last layer that learns nothing.
    image = np.random.default_rng(0).normal(size=(3, 8, 8, 1)).astype(np.float32)
    projected = network.predict(experiment.algorithm.networks(net)['student'], image)
    frozen = other.algorithm.networks(before)['student']
    features = network.predict(frozen, image).features
    inner = network.predict(other.algorithm.heads(before)['projector'], features).features
    np.testing.assert_allclose(projected.features, inner, rtol=1e-6)


def test_report_has_the_stage_and_what_it_took(unbroken):
    report = stages.run(start(MIDDLE, projector=1), unbroken)  # It is finished, and read.
    assert set(report['networks']) == {'student', 'student_ema', 'pretrain/student'}
    assert report['images_seen'] == 4 * 16 + 4 * 32


class Killed(BaseException):
    pass


@pytest.mark.parametrize('place', ['in pre-training', 'before the run', 'in the run'])
def test_a_kill_changes_nothing(place, unbroken, tmp_path, monkeypatch):
    """The run is started again and again, from what the call before has saved."""
    workdir, config = epath.Path(tmp_path) / 'run', start(MIDDLE, projector=1)
    if place == 'before the run':
        fit = loop.fit

        def stop(experiment, folder, starts):
            if folder == workdir:
                raise Killed
            return fit(experiment, folder, starts)

        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(loop, 'fit', stop)
            stages.run(config, workdir)
    else:
        folder = 'pretrain/' if place == 'in pre-training' else ''
        shutil.copytree(unbroken, workdir)
        for path in (f'{folder}checkpoints/4', f'{folder}report.json', 'report.json'):
            path = workdir / path
            path.rmtree() if path.is_dir() else path.unlink(missing_ok=True)
        if folder:
            (workdir / 'checkpoints').rmtree()
            (workdir / 'metrics.jsonl').unlink()
    stages.run(config, workdir)
    assert same(states(workdir), states(unbroken))
    assert probed(workdir) == probed(unbroken)


def test_neighbors_are_measured_while_it_trains(unbroken):
    """The last line is what mpl.probe's classifier finds among the same 15 of 20 labeled images."""
    assert [step for step, _, _ in probed(unbroken)] == [2, 4]
    experiment, state, _ = folders.load(unbroken)
    outputs = measure.make_forward(experiment)
    labeled, label = experiment.split.labeled, experiment.source.train.label
    bank = stream.sample(0, 'probe', 0, 15, labeled)
    assert len(set(bank)) == 15 and set(bank) < set(labeled)
    held = experiment.split.validation
    features = [
        measure.outputs(experiment, outputs, state, experiment.source.train, indices)
        for indices in (bank, held)
    ]
    for name, accuracy in zip(('student', 'student_ema'), probed(unbroken)[-1][1:]):
        known, asked = (one[name].features for one in features)
        similarity, index = neighbors.find(known, asked, 5)
        votes = neighbors.vote(similarity, label[bank][index], 10, 0.07)
        assert accuracy == np.mean(votes.argmax(-1) == label[held])


PROBES = {
    'neighbors is 21, but there are 20 labeled training images': dict(neighbors=21),
    'neighbors is 5, but there are 4 labeled training images': dict(neighbors=5, bank=4),
    "probe.labels is 'some'; give 'split' or 'all'": dict(labels='some'),
    'probe.every is -1': dict(every=-1),
    'probe.neighbors is 0': dict(neighbors=0),
}


@pytest.mark.parametrize('message', PROBES)
def test_a_probe_that_can_not_be_is_refused(message):
    given = start().to_dict() | {'init_from': {}}
    given['probe'] |= dict(bank=20000) | PROBES[message]
    with pytest.raises(ValueError, match=message):
        experiments.assemble(configs.complete(given))


def test_a_probe_needs_validation_and_labels():
    given = start().to_dict() | {'init_from': {}}
    given['split']['validation'] = 0
    with pytest.raises(ValueError, match='there are no validation images to probe'):
        experiments.assemble(configs.complete(given))
    experiment = experiments.assemble(start())
    source = experiment.source
    hidden = source.train._replace(label=np.full(len(source.train.label), -1))
    with pytest.raises(ValueError, match='No training image of the run has a label'):
        checks.check_probe(experiment.config, source._replace(train=hidden), experiment.split)


def test_seed_and_split_are_those_of_the_run():
    config = start(seed=3)
    inner = configs.complete(config.init_from.config.to_dict())
    assert (inner.seed, inner.split) == (3, config.split) and inner.every.save == 2
    assert configs.complete(config.to_dict()) == config


def test_networks_of_any_rule_start_from_one_pre_training(tmp_path):
    """MPL's teacher and student; a teacher that is pre-trained, for SimCLRv2's three stages."""
    roles = dict(model=CNN, optimizer=SGD)
    config = start().to_dict() | dict(
        networks=dict(teacher=roles, student=roles),
        algorithm=dict(name='mpl'),
        batch=dict(labeled=16, unlabeled=16, evaluate=256),
    )
    workdir = epath.Path(tmp_path) / 'mpl'
    stages.run(configs.complete(config), workdir)
    experiment = experiments.assemble(configs.complete(config))
    starts = weights.find(experiment, workdir / 'pretrain')
    assert set(starts) == {'teacher', 'student'} and same(starts['teacher'], starts['student'])

    tuned = start(MIDDLE, projector=1).to_dict()
    tuned = {key: value for key, value in tuned.items() if key not in ('seed', 'source', 'split')}
    distilled = given(
        views=dict(name='images', mean=77.9, std=95.9),
        networks=dict(student=roles),
        algorithm=dict(name='distill', weight=1.0, temperature=1.0),
        teacher=dict(config=tuned, network='student'),
    )
    workdir = epath.Path(tmp_path) / 'three'
    report = stages.run(configs.complete(distilled), workdir)
    assert (workdir / 'teacher' / 'pretrain' / 'report.json').exists()
    assert {'student', 'teacher/student', 'teacher/pretrain/student'} <= set(report['networks'])
    small = smoke.shrink(configs.complete(distilled))
    assert small.teacher.config.init_from.config.steps == smoke.STEPS


REFUSED = {
    'both a config and a workdir': dict(workdir='/some'),
    "init_from.network is 'pupil', but the run in init_from.config has student": dict(
        network='pupil'
    ),
    'init_from.projector is 1; it is a number of layers .*head to .new': dict(
        model=MIDDLE, projector=1, head='keep'
    ),
    "networks.student.model is 'cnn', without a place for these layers": dict(projector=1),
    'batch_stats/hidden/norm_0/mean is .5,. there and .7,. here': dict(
        model=MIDDLE | dict(widths=(7,)), projector=1
    ),
    'init_from.projector is 2, but the projector of the run in init_from.config has 1 hidden': dict(
        model=MIDDLE | dict(widths=(5, 4)), projector=2
    ),
    "The trunk MLP has no layer named 'head' to be replaced": dict(
        model=MIDDLE | dict(trunk=dict(name='mlp')), projector=1
    ),
    "has no 'projector_ema' .it has projector.": dict(
        model=MIDDLE,
        projector=1,
        network='student_ema',
        pretrain=pretraining(algorithm=dict(name='simclr', ema_decay=0.9)),
    ),
    'batch_stats/stage_0/norm/mean is .4,. there and .8,. here': dict(
        model=CNN | dict(channels=(8, 6))
    ),
    'trunk.name .fast_cnn. has weights that are computed from images': dict(
        model=MIDDLE | dict(trunk=dict(name='fast_cnn'))
    ),
    "init_from.config: algorithm.name 'x' is unknown": dict(
        pretrain=pretraining(algorithm=dict(name='x'))
    ),
}


@pytest.mark.parametrize('message', REFUSED)
def test_what_does_not_fit_is_refused_before_anything_is_written(message, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    with pytest.raises(ValueError, match=message) as caught:
        stages.run(start(**REFUSED[message]), workdir)
    assert '\n' not in str(caught.value) and not workdir.exists()


def test_overrides_reach_the_stage():
    path = 'configs/digits.py:supervised'
    base = configs.load(path, [])
    pretrain = {k: v for k, v in base.to_dict().items() if k not in ('seed', 'source', 'split')}
    config = configs.complete(base.to_dict() | {'init_from': {'config': pretrain}})
    changed = configs.override(config, ['--config.init_from.config.steps=7'])
    assert changed.init_from.config.steps == 7
    with pytest.raises(ValueError, match='is copied from the run that this stage is trained for'):
        configs.override(config, ['--config.init_from.config.seed=7'])


def test_a_kill_while_the_first_checkpoint_is_written_keeps_the_initial_weights(unbroken, tmp_path):
    """It leaves a folder of Orbax that is no checkpoint; a run of random weights would go on silently."""
    workdir = epath.Path(tmp_path) / 'run'
    shutil.copytree(unbroken, workdir)
    shutil.rmtree(workdir / 'checkpoints')
    for name in ('report.json', 'metrics.jsonl'):
        (workdir / name).unlink()
    (workdir / 'checkpoints' / '2.orbax-checkpoint-tmp').mkdir(parents=True)
    stages.run(start(MIDDLE, projector=1), workdir)
    assert same(states(workdir), states(unbroken))
