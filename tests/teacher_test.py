"""The teacher of a run: its logits are in the batches, however often it was stopped."""

import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import chex
import jax
import numpy as np
import pytest
from etils import epath

from mpl import predict
from mpl.data import batches, selection
from mpl.run import (
    checkpoint,
    data_record,
    evaluation,
    folders,
    loop,
    prediction,
    records,
    row_files,
    smoke,
    stages,
    teacher,
)
from mpl.run import config as configs
from mpl.run import experiment as experiments

SELECT = dict(confidence=0.11, per_class=60, balance=True)


@pytest.fixture(scope='module', autouse=True)
def hasty():
    """Small programs, compiled fast, in a process that is started too."""
    patch = pytest.MonkeyPatch()
    patch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
    jax.config.update('jax_disable_most_optimizations', True)
    yield
    patch.undo()
    jax.config.update('jax_disable_most_optimizations', False)


def teach():
    """The config of a teacher: labels only, 10 steps, an MLP."""
    given = configs.load('configs/smoke.py', []).to_dict()
    return given | dict(
        steps=10,
        networks=dict(student=given['networks']['student']),
        algorithm=dict(name='supervised', ema_decay=0.9),
        batch=dict(labeled=16, evaluate=256),
        finetune={},
    )


def learn(teacher={}, **more):
    """The config of a student of it."""
    given = teach() | dict(
        algorithm=dict(name='noisy_student', ema_decay=0.9),
        batch=dict(labeled=16, unlabeled=32, evaluate=256),
        teacher=dict(config=teach()) | teacher,
    )
    return configs.complete(given | more)


def final(workdir):
    return folders.load(workdir)[1]


def contents(workdir):
    """The bytes of the logits, the split that is selected and what was counted, less places."""
    split = json.loads((workdir / 'selected.json').read_text())
    counts = json.loads((workdir / 'selected_counts.json').read_text())
    kept = {key: split[key] for key in ('labeled', 'unlabeled', 'validation', 'hash', 'data')}
    logits = (workdir / 'logits.npy').read_bytes()
    return logits, kept, {key: counts[key] for key in counts.keys() - {'made_by', 'checksum'}}


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """A finished run with a teacher that selects."""
    workdir = epath.Path(tmp_path_factory.mktemp('runs')) / 'unbroken'
    stages.run(learn(SELECT), workdir)
    return workdir


def ask(monkeypatch, workdir, *arguments):
    given = ['predict', f'--workdir={workdir}', *arguments]
    monkeypatch.setattr(sys, 'argv', given)
    predict.main()


def test_batches_have_the_logits_of_predict(unbroken, tmp_path, monkeypatch):
    ask(monkeypatch, unbroken / 'teacher', '--split=train', f'--logits={tmp_path}/out.npy')
    rows = np.load(tmp_path / 'out.npy')
    np.testing.assert_array_equal(np.load(unbroken / 'logits.npy'), rows)
    experiment = teacher.label(experiments.assemble(learn(SELECT)), unbroken)
    assert isinstance(experiment.logits.values, np.memmap)
    batch = batches.make_fetch(experiment.pipeline, 2)(4)
    for name, size in (('labeled', 16), ('unlabeled', 32)):
        index, soft = (np.asarray(batch[name][key]) for key in ('index', 'logits'))
        chex.assert_shape(soft, (2, size, 10))
        chex.assert_type(soft, np.float32)
        np.testing.assert_array_equal(soft, rows[index])
        chex.assert_shape(experiment.batch[name]['logits'], (size, 10))
    assert set(experiment.batch['unlabeled']) == {'weak', 'strong', 'index', 'logits'}


def test_without_a_teacher_there_is_no_such_key():
    experiment = experiments.assemble(configs.complete(teach()))
    assert 'logits' not in experiment.batch['labeled']
    assert 'logits' not in batches.make_fetch(experiment.pipeline, 2)(0)['labeled']
    for more in ({}, dict(algorithm=dict(name='distill'))):
        with pytest.raises(ValueError, match="from a teacher's logits, but the batch has none"):
            experiments.assemble(learn(dict(config={}), **more))
    mixed = dict(configs.load('configs/smoke.py', []).views.to_dict(), mix=dict(mixup=1.0))
    experiment = experiments.assemble(learn(views=mixed))
    assert 'logits' not in experiment.batch['labeled'] and 'logits' in experiment.batch['unlabeled']
    with pytest.raises(ValueError, match='no views.mix'):
        experiments.assemble(learn(views=mixed, algorithm=dict(name='distill')))


def test_selected_examples_alone_are_drawn_as_often_as_they_are_there(unbroken):
    base = experiments.assemble(learn(SELECT))
    experiment, _, _ = folders.load(unbroken)
    split = experiment.split
    assert len(split.unlabeled) == 600 > len(np.unique(split.unlabeled))
    np.testing.assert_array_equal(split.labeled, base.split.labeled)
    np.testing.assert_array_equal(split.validation, base.split.validation)
    assert not np.isin(split.unlabeled, split.validation).any()
    predicted = np.load(unbroken / 'logits.npy')[np.unique(split.unlabeled)].argmax(-1)
    assert (np.bincount(predicted, minlength=10) <= 60).all()
    fetch = batches.make_fetch(
        teacher.label(base, unbroken).pipeline, 25
    )  # An epoch is 18.75 steps of 32.
    drawn = np.asarray(fetch(0)['unlabeled']['index']).ravel()[:600]
    np.testing.assert_array_equal(np.sort(drawn), split.unlabeled)
    report = json.loads((unbroken / 'report.json').read_text())
    assert report['selected']['drawn'] == 600
    assert report['selected']['kept'] == report['split']['unlabeled'] == len(predicted)
    assert report['split']['hash'] == split.hash != base.split.hash
    assert evaluation.evaluate(unbroken, 'unlabeled', [])['examples'] == len(predicted)
    assert experiments._sizes(experiment.source, split).unlabeled == len(predicted)


def test_report_lists_the_teacher_and_what_it_took(unbroken):
    report, before = (
        json.loads((unbroken / name / 'report.json').read_text()) for name in ('', 'teacher')
    )
    names = {'student', 'student_ema'}
    assert set(report['networks']) == names | {f'teacher/{name}' for name in names}
    assert report['networks']['teacher/student'] == before['networks']['student']
    assert report['images_seen'] == 10 * 16 + 10 * 48
    assert report['seconds'] > before['seconds'] > 0
    assert 'selected' not in before


class Killed(BaseException):
    pass


def asking(monkeypatch):
    """Ends the process that asks when it is at the second of five chunks."""
    true = prediction.predict

    def stop(*given):
        for number, chunk in enumerate(true(*given)):
            if number:
                raise Killed
            yield chunk

    monkeypatch.setattr(prediction, 'predict', stop)


def kill(monkeypatch, module, name):
    def stop(*given, **more):
        raise Killed

    monkeypatch.setattr(module, name, stop)


PLACES = {
    'while it predicts': asking,
    'before selection': lambda patch: kill(patch, selection, 'score'),
    'before training': lambda patch: kill(patch, loop, 'fit'),
}


@pytest.mark.parametrize('place', PLACES)
def test_run_killed_between_stages_resumes_to_the_same_bits(place, unbroken, tmp_path):
    """The teacher is trained already in all of them, and is not trained again."""
    workdir = epath.Path(tmp_path) / 'run'
    shutil.copytree(unbroken, workdir)
    for path in workdir.iterdir():
        if path.name not in ('teacher', 'config.json', 'data.json', 'split.json'):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    trained = (workdir / 'teacher' / 'report.json').stat().mtime
    with pytest.MonkeyPatch.context() as patch:
        PLACES[place](patch)
        with pytest.raises(Killed):
            stages.run(learn(SELECT), workdir)
    assert not (workdir / 'report.json').exists()
    computed = []
    with pytest.MonkeyPatch.context() as patch:
        true = prediction.from_pool
        patch.setattr(
            prediction, 'from_pool', lambda *given: computed.append(len(given[1])) or true(*given)
        )
        stages.run(learn(SELECT), workdir)
    assert computed == ([1097 - 256] if place == 'while it predicts' else [])
    assert (workdir / 'teacher' / 'report.json').stat().mtime == trained
    assert contents(workdir) == contents(unbroken)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))


FILE = """
from ml_collections import ConfigDict

from tests.teacher_test import SELECT, learn

def get_config():
    return ConfigDict(learn(SELECT).to_dict())
"""


def test_process_killed_once_it_has_labeled_resumes_to_the_same_bits(unbroken, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    (tmp_path / 'c.py').write_text(FILE)
    command = [sys.executable, '-m', 'mpl.train', f'--config={tmp_path}/c.py']
    process = subprocess.Popen([*command, f'--workdir={workdir}'], stderr=subprocess.PIPE)
    while not (workdir / 'logits.npy').exists():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / 'report.json').exists()
    stages.run(learn(SELECT), workdir)
    assert contents(workdir) == contents(unbroken)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))


def test_rounds_are_teachers_of_teachers(tmp_path):
    """Each with its own network; the seed, source and split of the last are those of all."""
    inner = learn(SELECT, split=dict(labels=30, validation=90)).to_dict()
    inner['networks']['student']['model']['widths'] = (16,)
    config = learn(dict(config=inner, network='student'), seed=3)
    report = stages.run(config, epath.Path(tmp_path) / 'run')
    assert set(report['networks']) == {
        f'{"teacher/" * depth}{name}' for depth in range(3) for name in ('student', 'student_ema')
    }
    parameters = [
        report['networks'][f'{"teacher/" * depth}student']['parameters'] for depth in range(3)
    ]
    assert parameters[0] == parameters[2] == 2 * parameters[1] - 10
    assert report['images_seen'] == 10 * 48 + 10 * 48 + 10 * 16
    folders = ('run', 'run/teacher', 'run/teacher/teacher')
    written = [json.loads((tmp_path / f / 'report.json').read_text()) for f in folders]
    each = [one['flops']['step'] for one in written]
    assert report['flops']['run'] == 10 * sum(each) and min(each) > 0
    split = json.loads((tmp_path / 'run' / 'split.json').read_text())
    for depth in (1, 2):
        place = pathlib.Path(tmp_path, 'run', *['teacher'] * depth)
        assert json.loads((place / 'config.json').read_text())['seed'] == 3
        assert json.loads((place / 'split.json').read_text())['hash'] == split['hash']
    # The network that labels is the one that is named.
    stage, inner = evaluation.find_network(
        'student', evaluation.load(epath.Path(tmp_path) / 'run' / 'teacher')
    )
    number = np.array([split['unlabeled'][0]])
    chunks = prediction.from_pool(stage.experiment.source.train, number, 1)
    ((_, _, outputs),) = prediction.predict(stage, inner, chunks)
    rows = np.load(tmp_path / 'run' / 'logits.npy')
    np.testing.assert_allclose(rows[number], outputs.logits, atol=1e-5)


def test_finished_run_may_be_the_teacher(unbroken, tmp_path):
    """It gives the same logits, and is not needed once they are written."""
    place, workdir = epath.Path(tmp_path) / 'teacher', epath.Path(tmp_path) / 'run'
    shutil.copytree(unbroken / 'teacher', place)
    config = learn(SELECT | dict(config={}, workdir=str(place)))
    report = stages.run(config, workdir)
    assert contents(workdir) == contents(unbroken)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))
    assert set(report['networks']) == {'student', 'student_ema'}
    shutil.rmtree(place)
    shutil.rmtree(workdir / 'checkpoints')
    (workdir / 'report.json').unlink()
    moved = learn(SELECT | dict(config={}, workdir='elsewhere'))
    stages.run(moved, workdir)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))


def refused():
    return {
        r'has both a config and a workdir': dict(workdir='x'),
        r"teacher.network is 'pupil'; the teacher has student, student_ema": dict(network='pupil'),
        r'teacher.confidence is 1.5': SELECT | dict(confidence=1.5),
        r'teacher.per_class is -1': dict(per_class=-1),
        r'teacher.confidence is 0.5, but teacher.per_class is 0': dict(confidence=0.5),
        r'teacher.balance repeats': dict(balance=True),
        r'give teacher.config, teacher.workdir or teacher.logits too': dict(config={}, per_class=3),
        r'/none holds no run': dict(config={}, workdir='/none'),
    }


@pytest.mark.parametrize('message', refused())
def test_what_does_not_fit_is_refused_before_anything_is_written(message, tmp_path):
    given = learn().to_dict()
    if 'too' in message:
        given['algorithm'], given['batch']['unlabeled'] = dict(name='supervised'), 0
    given['teacher'] |= refused()[message]
    with pytest.raises(ValueError, match=message) as caught:
        stages.run(configs.complete(given), epath.Path(tmp_path) / 'run')
    assert '\n' not in str(caught.value)
    assert not (tmp_path / 'run').exists()


def test_run_of_other_data_is_no_teacher(unbroken, tmp_path, monkeypatch):
    place = epath.Path(tmp_path) / 'teacher'
    shutil.copytree(unbroken / 'teacher', place)
    config, workdir = learn(dict(config={}, workdir=str(place))), epath.Path(tmp_path) / 'run'
    with pytest.raises(ValueError, match='has another split than this run'):
        stages.run(configs.complete(config.to_dict() | {'seed': 1}), workdir)
    record = records.read(place / 'data.json', '', '')
    record['parts']['train']['names'] = 'other'
    records.write(place / 'data.json', record)
    with monkeypatch.context() as patch:
        patch.setattr(data_record, 'check', lambda *_: None)  # That of the other run itself.
        with pytest.raises(ValueError, match='is a run of other data .names of the train examples'):
            stages.run(config, workdir)
    with pytest.raises(ValueError, match='The data of the run in .*teacher have changed'):
        stages.run(config, workdir)
    assert not workdir.exists()


def test_empty_selection_is_refused(unbroken, tmp_path):
    config = learn(SELECT | dict(config={}, workdir=str(unbroken / 'teacher'), confidence=1.0))
    with pytest.raises(ValueError, match='None of the 1,097 unlabeled examples'):
        stages.run(config, epath.Path(tmp_path) / 'run')


def test_config_of_the_teacher_is_checked_and_reached():
    recipe = 'configs/digits.py:noisy_student'
    config = configs.load(recipe, ['--config.teacher.config.steps=10', '--config.seed=5'])
    inner = config.teacher.config
    assert (inner.steps, inner.seed, inner.teacher.config.seed) == (10, 5, 5)
    assert inner.teacher.config.every.log == 50  # Completed with every default.
    assert configs.complete(config.to_dict()) == config
    with pytest.raises(
        ValueError, match="teacher.config: config has no key 'stepz'; did you mean 'steps'"
    ):
        configs.load(recipe, ['--config.teacher.config.stepz=10'])
    with pytest.raises(ValueError, match="^teacher.config.algorithm.name 'x' is unknown"):
        configs.load(recipe, ['--config.teacher.config.algorithm.name=x'])
    small = smoke.shrink(config)
    assert small.steps == small.teacher.config.steps == small.teacher.config.teacher.config.steps


def test_network_that_an_algorithm_can_do_without_is_no_number():
    given = learn(algorithm=dict(name='distill')).to_dict()
    assert 'teacher' not in given['algorithm']
    given['algorithm']['teacher'] = None
    with pytest.raises(ValueError, match="algorithm has no key 'teacher'"):
        configs.complete(given)


def test_moved_teacher_is_no_other_config(unbroken, tmp_path):
    config = learn(SELECT, init_from=dict(workdir='there')).to_dict()
    config['teacher']['config']['init_from']['workdir'] = 'there'
    records.write(epath.Path(tmp_path) / 'config.json', configs.complete(config).to_dict())
    config['teacher']['config']['init_from']['workdir'] = 'moved'
    config['init_from']['workdir'] = 'moved'
    folders.check(configs.complete(config), epath.Path(tmp_path))
    config['teacher']['config']['steps'] = 11
    with pytest.raises(ValueError, match=r'another config \(teacher.config.steps: 10 -> 11\)'):
        folders.check(configs.complete(config), epath.Path(tmp_path))


def test_cached_distillation_trains(unbroken, tmp_path):
    section = dict(config={}, workdir=str(unbroken / 'teacher'))
    config = learn(section, algorithm=dict(name='distill', weight=1.0))
    report = stages.run(config, epath.Path(tmp_path) / 'run')
    assert set(report['networks']) == {'student'}
    lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
    soft = [json.loads(line)['loss/soft'] for line in lines if 'loss/soft' in line]
    assert soft[-1] < soft[0]
    rows = row_files.read(str(tmp_path / 'run' / 'logits.npy'))
    assert not len(
        row_files.missing(rows, evaluation.find_examples(experiments.assemble(config), 'train')[1])
    )


def unfinished(run, workdir):
    """A copy of the run that has its logits, and selected, and is to train."""
    shutil.copytree(run, workdir)
    shutil.rmtree(workdir / 'checkpoints')
    (workdir / 'report.json').unlink()
    return workdir


def test_logits_of_a_teacher_that_was_trained_anew_are_refused(unbroken, tmp_path):
    workdir = unfinished(unbroken, epath.Path(tmp_path) / 'run')
    state, made_by = final(workdir / 'teacher'), row_files.read(str(workdir / 'logits.npy')).made_by
    assert made_by['state'] == int(checkpoint.fingerprint(state))
    other = jax.tree.map(lambda leaf: leaf + 1 if leaf.dtype == np.float32 else leaf, state)
    shutil.rmtree(workdir / 'teacher' / 'checkpoints')
    with checkpoint.open_folder(workdir / 'teacher' / 'checkpoints') as manager:
        checkpoint.save(manager, 10, other, {'seconds': 0.0, 'window': {}})
    with pytest.raises(ValueError, match='logits.npy holds .*other weights of the same config'):
        stages.run(learn(SELECT), workdir)


def test_logits_that_were_changed_are_noticed_and_computed_again(unbroken, tmp_path):
    workdir = unfinished(unbroken, epath.Path(tmp_path) / 'run')
    rows = np.lib.format.open_memmap(workdir / 'logits.npy', 'r+')
    changed = experiments.assemble(learn(SELECT)).split.unlabeled[5]
    rows[changed] += 1
    rows.flush()
    with pytest.raises(ValueError, match=f'first of example {changed} '):
        row_files.read(str(workdir / 'logits.npy'))[np.array([[0, changed]])]
    stages.run(learn(SELECT), workdir)
    assert contents(workdir)[1:] == contents(unbroken)[1:]
    np.testing.assert_allclose(
        np.load(workdir / 'logits.npy'), np.load(unbroken / 'logits.npy'), atol=1e-6
    )


def test_selection_of_something_else_is_refused(unbroken, tmp_path):
    workdir = unfinished(unbroken, epath.Path(tmp_path) / 'run')
    path = workdir / 'selected.json'
    record = json.loads(path.read_text())
    for change in (
        {'rule': dict(confidence=0.2, per_class=60, balance=True)},
        {'split': '0123'},
        {'logits': record['made_by']['logits'] | {'state': 1}},
    ):
        other = record | {'made_by': record['made_by'] | change}
        path.write_text(json.dumps(records.seal(other)))
        with pytest.raises(
            ValueError, match='was not selected by the logits and settings of this run'
        ):
            stages.run(learn(SELECT), workdir)
    path.write_text(json.dumps(record | {'unlabeled': record['unlabeled'][1:]}))
    with pytest.raises(ValueError, match='was changed after it was written'):
        stages.run(learn(SELECT), workdir)


def test_stage_of_another_config_is_refused(unbroken, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    train_config = learn(SELECT | dict(config=teach() | dict(steps=5)))
    folders.prepare(experiments.assemble(train_config), workdir)
    shutil.copytree(unbroken / 'teacher', workdir / 'teacher')
    with pytest.raises(ValueError, match='teacher holds a run of another config .steps: 10 -> 5'):
        stages.run(train_config, workdir)


def test_logits_of_a_teacher_that_is_gone_are_taken_if_they_are_of_these_data(unbroken, tmp_path):
    config = learn(dict(config={}, workdir=str(tmp_path / 'none'), network='student'))
    workdir = epath.Path(tmp_path) / 'run'
    experiment = experiments.assemble(config)
    folders.prepare(experiment, workdir)
    for name in ('logits.npy', 'logits.npy.crc', 'logits.npy.json'):
        shutil.copy(unbroken / name, workdir / name)
    with pytest.raises(
        ValueError, match="is not of 'student', and teacher.workdir .* is not there"
    ):
        stages.run(config, workdir)  # It is of student_ema.
