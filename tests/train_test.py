"""Whole runs: resumed to the same bits however they ended, on any number of devices."""

import json
import os
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
from absl import logging
from etils import epath

from mpl.data import batches
from mpl.run import checkpoint, data_record, folders, loop, metrics, records, stages, weights
from mpl.run import config as configs
from mpl.run import experiment as experiments

SMOKE = 'configs/smoke.py'
LONG = [
    f'--config.{number}'
    for number in ('steps=240', 'every.log=15', 'every.save=20', 'finetune.steps=0')
]


def load(*overrides):
    return configs.load(SMOKE, list(overrides))


def final(workdir):
    return folders.load(epath.Path(workdir))[1]


def lines(workdir):
    kept = metrics.read(workdir / 'metrics.jsonl')
    return [{k: v for k, v in line.items() if k != 'seconds'} for line in kept]


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, drawing):
    """A finished smoke run, with figures."""
    workdir = epath.Path(tmp_path_factory.mktemp('runs')) / 'unbroken'
    with drawing():
        stages.run(load(), workdir)
    return workdir


@pytest.fixture(scope='module')
def long(tmp_path_factory):
    """A finished run of 240 steps."""
    workdir = epath.Path(tmp_path_factory.mktemp('runs')) / 'long'
    stages.run(load(*LONG), workdir)
    return workdir


def command(workdir):
    return subprocess.Popen(
        [sys.executable, '-m', 'mpl.train', f'--config={SMOKE}', f'--workdir={workdir}', *LONG],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_step(workdir, step, process):
    """Waits until the run has logged a step."""
    for _ in range(6000):  # Of 50 ms: a busy machine takes minutes to compile.
        path = workdir / 'metrics.jsonl'
        if path.exists() and any(
            f'{{"step": {s},' in path.read_text() for s in range(step, step + 60, 5)
        ):
            return
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.05)
    raise AssertionError('the run did not get there')


def test_leaves_what_it_promises(unbroken):
    for name in (
        'config.json',
        'metrics.jsonl',
        'report.json',
        'split.json',
        'checkpoints/20',
        'learning_curves.png',
        'feedback.png',
        'pseudo_labels.png',
        'confusion.png',
        'views.png',
        'finetune/report.json',
    ):
        assert (unbroken / name).exists(), name
    assert list((unbroken / 'tensorboard').iterdir())
    report = json.loads((unbroken / 'report.json').read_text())
    assert set(report['networks']) == {'student', 'student_ema', 'teacher', 'finetuned'}
    for network in report['networks'].values():
        assert 0 <= network['test']['accuracy'] <= 1
        assert network['parameters'] == 64 * 32 + 32 + 32 * 10 + 10
    assert report['split']['hash'] == json.loads((unbroken / 'split.json').read_text())['hash']
    assert report['split']['labeled'] == 20 and report['split']['validation'] == 100


def test_finetuning_changes_the_student_alone_from_its_last_weights(unbroken):
    before = final(unbroken).student.params
    tuned = experiments.assemble(configs.read(unbroken / 'finetune' / 'config.json'))
    first = experiments.initialize(tuned, weights.find(tuned))
    chex.assert_trees_all_equal(first.params, before)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(final(unbroken / 'finetune').params, before)


def test_relative_work_directory(unbroken, tmp_path, monkeypatch):
    config = load('--config.finetune.steps=0')
    monkeypatch.chdir(tmp_path)
    stages.run(config, epath.Path('runs/here'))
    assert (tmp_path / 'runs' / 'here' / 'report.json').exists()
    chex.assert_trees_all_equal(final('runs/here'), final(unbroken))


def test_finished_run_is_not_done_again(unbroken):
    before = (unbroken / 'report.json').stat().mtime
    stages.run(load(), unbroken)
    assert (unbroken / 'report.json').stat().mtime == before


def test_same_seed_same_bits_and_another_seed_others(unbroken, tmp_path):
    again, other = epath.Path(tmp_path) / 'again', epath.Path(tmp_path) / 'other'
    stages.run(load(), again)
    chex.assert_trees_all_equal(final(again), final(unbroken))
    assert lines(again) == lines(unbroken)
    stages.run(load('--config.seed=1', '--config.finetune.steps=0'), other)
    with pytest.raises(AssertionError):
        chex.assert_trees_all_equal(final(other), final(unbroken))


@pytest.mark.parametrize('how', [signal.SIGKILL, signal.SIGTERM])
def test_killed_run_resumes_to_the_same_bits(how, long, tmp_path):
    """By the command, or, once it was told to stop, in this process."""
    workdir = epath.Path(tmp_path) / 'run'
    process = command(workdir)
    wait_for_step(workdir, 100, process)
    process.send_signal(how)
    printed, _ = process.communicate()
    assert not (workdir / 'report.json').exists()
    saved = sorted(int(p.name) for p in (workdir / 'checkpoints').iterdir() if p.name.isdigit())
    if how == signal.SIGTERM:
        assert process.returncode == 128 + signal.SIGTERM
        assert f'saved step {saved[-1]} of 240' in printed
        stages.run(load(*LONG), workdir)
    else:
        assert process.returncode == -signal.SIGKILL
        resumed = command(workdir)
        printed, _ = resumed.communicate()
        assert resumed.returncode == 0, printed
    chex.assert_trees_all_equal(final(workdir), final(long))
    assert lines(workdir) == lines(long)


def test_damaged_checkpoint_falls_back_to_the_one_before(unbroken, tmp_path, caplog):
    workdir = copy(unbroken, tmp_path)
    damage(workdir / 'checkpoints' / '20')
    logging.use_absl_handler()
    stages.run(load(), workdir)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))
    assert 'The checkpoint of step 20 is damaged' in caplog.text
    assert (workdir / 'damaged_checkpoint_20').exists()


def test_changed_bits_are_recognized(unbroken, tmp_path, monkeypatch):
    """A checkpoint that can be read but is not what was saved."""

    experiment = experiments.assemble(load())
    with checkpoint.open_folder(epath.Path(tmp_path) / 'checkpoints') as manager:
        state = final(unbroken)
        monkeypatch.setattr(checkpoint, 'fingerprint', lambda state: 12345)
        checkpoint.save(manager, 20, state, {'seconds': 0.0, 'window': {}})
        manager.wait_until_finished()
        monkeypatch.undo()
        with pytest.raises(ValueError, match='None of the checkpoints'):
            checkpoint.restore(manager, experiment.state)


def test_nothing_is_touched_when_no_checkpoint_is_good(unbroken, tmp_path):
    workdir = copy(unbroken, tmp_path)
    for step in ('10', '20'):
        damage(workdir / 'checkpoints' / step)
    before = contents(workdir)
    with pytest.raises(ValueError, match=r'None of the checkpoints .* \[10, 20\]'):
        stages.run(load(), workdir)
    assert contents(workdir) == before


def test_other_config_is_refused_with_the_difference(unbroken):
    before = contents(unbroken)
    with pytest.raises(ValueError, match=r'algorithm.ema_decay: 0.9 -> 0.5'):
        stages.run(load('--config.algorithm.ema_decay=0.5'), unbroken)
    assert contents(unbroken) == before


def test_folder_that_is_no_run_is_refused(tmp_path):
    (tmp_path / 'thesis.tex').write_text('do not touch')
    with pytest.raises(ValueError, match='is not empty and holds no run'):
        stages.run(load(), epath.Path(tmp_path))
    assert contents(tmp_path) == {'thesis.tex': b'do not touch'}


def test_file_as_work_directory_and_broken_config_are_refused(unbroken, tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(ValueError, match='file is a file; give a folder'):
        stages.run(load(), epath.Path(tmp_path) / 'file')
    workdir = copy(unbroken, tmp_path)
    for text in ('', '{}', '[1]'):
        (workdir / 'config.json').write_text(text)
        with pytest.raises(ValueError, match='config.json is not the config of a run'):
            stages.run(load(), workdir)


def test_changed_data_are_refused(unbroken, tmp_path):
    workdir = copy(unbroken, tmp_path)
    record = records.read(workdir / 'data.json', '', '')
    record['parts']['train']['examples'] = 1198
    records.write(workdir / 'data.json', record)
    before = contents(workdir)
    with pytest.raises(ValueError, match='The data of the run in .* have changed'):
        stages.run(load(), workdir)
    with pytest.raises(ValueError, match='The data of the run in .* have changed'):
        folders.load(workdir)
    assert contents(workdir) == before


def test_folder_that_another_process_trains_in_is_refused(unbroken, tmp_path):
    workdir = copy(unbroken, tmp_path)
    with folders.lock(workdir), pytest.raises(ValueError, match='by another process'):
        stages.run(load(), workdir)
    with folders.lock(workdir):  # Let go of.
        pass


def test_a_run_in_a_folder_of_any_name_is_the_same_run(unbroken, tmp_path):
    workdir = epath.Path(tmp_path) / 'lr[0.1] a:b' / '$x$ *?"100%'
    stages.run(load(), workdir)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))
    chex.assert_trees_all_equal(final(workdir / 'finetune'), final(unbroken / 'finetune'))
    (tmp_path / 'split[0].json').write_bytes((unbroken / 'split.json').read_bytes())
    other = [
        f'--config.init_from.workdir={workdir}',
        f'--config.split.file={tmp_path}/split[0].json',
        '--config.split.labels=0',
        '--config.split.validation=0',
    ]
    found = weights.find(experiments.assemble(load(*other)))
    chex.assert_trees_all_equal(found['student'].params, final(unbroken).student.params)


def test_folders_where_nothing_could_be_read_again_are_refused_at_once(tmp_path):
    with pytest.raises(ValueError, match='No checkpoint can be kept .* has a backslash'):
        stages.run(load(), epath.Path(tmp_path) / 'a\\b')
    assert not list(tmp_path.iterdir())


def test_what_can_not_be_read_back_is_not_called_saved(unbroken, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(5, 'Input/output error')

    workdir = epath.Path(tmp_path) / 'run'
    monkeypatch.setattr(checkpoint, '_read', fail)
    with pytest.raises(RuntimeError, match=r'step 20 .* cannot be read back \(.*Input/output'):
        stages.run(load(), workdir)
    assert not (workdir / 'report.json').exists()
    monkeypatch.undo()
    stages.run(load(), workdir)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))


@pytest.mark.parametrize('name', ['config.json', 'data.json', 'report.json'])
def test_a_changed_byte_of_a_record_is_noticed(name, unbroken, tmp_path):
    workdir = copy(unbroken, tmp_path)
    report = stages.run(load(), workdir)
    written = (workdir / name).read_bytes()
    if name == 'data.json':  # Read where a run goes on.
        (workdir / 'report.json').unlink()
    noticed = 0
    for place in np.random.default_rng(0).integers(len(written), size=20):
        changed = written[:place] + bytes([written[place] ^ 1]) + written[place + 1 :]
        (workdir / name).write_bytes(changed)
        try:
            if name == 'data.json':
                assert data_record.read(workdir) == data_record.read(unbroken)
            else:
                assert stages.run(load(), workdir) == report
        except ValueError as error:
            noticed += f'{name} is not' in str(error)
    assert noticed > 5


def test_a_damaged_line_of_the_metrics_does_not_end_the_file(unbroken, tmp_path):
    workdir = copy(unbroken, tmp_path)
    path = workdir / 'metrics.jsonl'
    path.write_text(path.read_text().replace('"step": 5', '"step": 4'))
    with pytest.raises(ValueError, match='Line 1 of .* is not as it was written'):
        stages.run(load(), workdir)
    path.write_text(''.join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(ValueError, match='lines up to step 20, but the checkpoint'):
        stages.run(load(), workdir)


def test_a_full_disk_is_one_sentence_and_the_run_goes_on_after(unbroken, tmp_path):
    """The limit on the size of a file stands in for the disk; programs are read and none is kept."""
    workdir = epath.Path(tmp_path) / 'run'
    whole = [sys.executable, '-m', 'mpl.train', f'--config={SMOKE}', f'--workdir={workdir}']
    ended = subprocess.run(
        ['bash', '-c', 'ulimit -f 15 && exec "$@"', '-', *whole],  # KiB
        env=os.environ | {'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS': '1e9'},
        capture_output=True,
        text=True,
    )
    errors = ended.stderr
    assert ended.returncode == 1 and errors.count('error: ') == 1, errors
    assert 'Traceback' not in errors, errors
    assert 'error: A checkpoint could not be saved' in errors, errors
    assert 'the same command resumes' in errors, errors
    assert not (workdir / 'report.json').exists()
    stages.run(load(), workdir)
    chex.assert_trees_all_equal(final(workdir), final(unbroken))


def test_start_from_other_weights_is_another_config(unbroken):
    with pytest.raises(ValueError, match='init_from.workdir'):
        stages.run(load(f'--config.init_from.workdir={unbroken}'), unbroken)


def test_a_start_at_another_path_is_named(tmp_path, caplog):
    """It may have been moved, or be another one, which a run that has begun does not take."""
    first, second = (load(f'--config.init_from.workdir={tmp_path}/{name}') for name in 'ab')
    (tmp_path / 'run').mkdir()
    records.write(epath.Path(tmp_path / 'run' / 'config.json'), first.to_dict())
    for config, warned in ((first, False), (second, True)):
        folders.check(config, epath.Path(tmp_path / 'run'))
        named = f"init_from.workdir: '{tmp_path}/a' -> '{tmp_path}/b'"
        assert (named in caplog.text) == warned


def test_weights_that_are_not_finite_are_not_saved(unbroken, tmp_path):
    state = final(unbroken)
    bad = state.replace(baseline=state.baseline * float('nan'))
    with checkpoint.open_folder(epath.Path(tmp_path) / 'checkpoints') as manager:
        with pytest.raises(FloatingPointError, match='not finite after step 3'):
            checkpoint.save(manager, 3, bad, {})
        assert not manager.all_steps()


def test_pseudo_labels_are_measured_on_images_without_a_label_for_training(unbroken):
    experiment, state, _ = folders.load(unbroken)
    numbers = np.setdiff1d(experiment.split.unlabeled, experiment.split.labeled)
    last = [line for line in lines(unbroken) if 'unlabeled/teacher/accuracy' in line][-1]
    assert sum(last['unlabeled/teacher/histogram']) == len(numbers) == 1197 - 100 - 20


def test_non_finite_loss_stops_with_step_and_name(tmp_path):
    config = load('--config.networks.teacher.optimizer.learning_rate=1e30')
    with pytest.raises(FloatingPointError, match=r'\S+ is not finite at step \d+'):
        stages.run(config, epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run' / 'report.json').exists()


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_one_device_equals_eight(norm, tmp_path):
    config = load(*[f'--config.networks.{r}.model.norm={norm}' for r in ('teacher', 'student')])
    states = []
    for count in (1, 8):
        experiment = experiments.assemble(config, jax.devices()[:count])
        state, _ = loop.fit(experiment, epath.Path(tmp_path) / str(count))
        states.append(jax.device_get(state))
    chex.assert_trees_all_close(*states, rtol=2e-4, atol=2e-5)


def test_state_restores_onto_fewer_devices(unbroken):

    experiment = experiments.assemble(load(), jax.devices()[:2])
    with checkpoint.open_folder(unbroken / 'checkpoints') as manager:
        step, state, _ = checkpoint.restore(manager, experiment.state)
    assert step == 20
    assert len(jax.tree.leaves(state)[0].sharding.device_set) == 2
    chex.assert_trees_all_equal(jax.device_get(state), jax.device_get(final(unbroken)))


def test_streamed_images_train_to_the_same_bits_as_resident_ones(unbroken, tmp_path):
    experiment = experiments.assemble(load('--config.resident_bytes=0'))
    assert not batches.is_resident(experiment.pipeline)
    state, _ = loop.fit(experiment, epath.Path(tmp_path) / 'run')
    chex.assert_trees_all_equal(jax.device_get(state), jax.device_get(final(unbroken)))


def test_steps_per_call_does_not_change_the_result(unbroken, tmp_path):
    experiment = experiments.assemble(load('--config.steps_per_call=1'))
    state, _ = loop.fit(experiment, epath.Path(tmp_path) / 'run')
    chex.assert_trees_all_close(
        jax.device_get(state), jax.device_get(final(unbroken)), rtol=1e-4, atol=1e-6
    )


def test_unlabeled_batches_carry_no_label():
    experiment = experiments.assemble(load())
    assert set(experiment.batch['unlabeled']) == {'weak', 'strong', 'index'}
    batch = batches.make_fetch(experiment.pipeline, 2)(0)
    assert set(batch['unlabeled']) == {'index'}


def test_nothing_is_traced_again_after_the_first_call(tmp_path):
    experiment = experiments.assemble(load())
    steps, resident = loop.make_steps(experiment), batches.resident(experiment.pipeline)
    fetch, state = batches.make_fetch(experiment.pipeline, 5), experiments.initialize(experiment)
    for step in (0, 5, 10):
        state, _ = steps(state, resident, fetch(step), jax.random.key(0))
    assert steps._cache_size() == 1


def test_init_from_requires_a_network_that_fits(unbroken, tmp_path):
    for override, message in (
        ('network=critic', 'has student, student_ema, teacher'),
        ('network=teacher', 'params.* is .* there and .* here; make the models the same'),
    ):
        config = load(
            f'--config.init_from.workdir={unbroken}',
            f'--config.init_from.{override}',
            '--config.networks.student.model.widths=(16,)',
        )
        with pytest.raises(ValueError, match=message):
            stages.run(config, epath.Path(tmp_path) / 'run')
    assert not (tmp_path / 'run').exists()


def copy(workdir, to):
    """The run without its report, as if it had not finished."""
    shutil.copytree(workdir, to / 'run')
    os.remove(to / 'run' / 'report.json')
    return epath.Path(to) / 'run'


def damage(checkpoint):
    """Cuts the largest files of a checkpoint short."""
    for path in pathlib.Path(checkpoint).rglob('*'):
        if path.is_file() and path.stat().st_size > 500:
            path.write_bytes(path.read_bytes()[:100])


def contents(folder):
    folder = pathlib.Path(folder)
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob('*') if p.is_file()}


def test_lines_that_a_finished_run_has_lost_are_noticed(unbroken, tmp_path):
    """Also where it is a stage of one that goes on: a cut at the end of a line leaves a whole file."""
    workdir = epath.Path(tmp_path) / 'run'
    shutil.copytree(unbroken, workdir)
    path = workdir / 'metrics.jsonl'
    path.write_text(''.join(path.read_text().splitlines(True)[:-1]))
    with pytest.raises(ValueError, match='lines; the run has written'):
        stages.run(load(), workdir)
