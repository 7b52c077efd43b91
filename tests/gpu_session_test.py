"""The ten minutes of a GPU, at the size of a test: what is run, for how long, and what the table says."""

import json
import signal
import sys
import time
from types import SimpleNamespace

import jax
import pytest
from etils import epath

from benchmarks import gpu_session, gpu_stages, gpu_table
from mpl.run import config as configs
from mpl.run import memory, metrics, records

H200 = {'kind': 'NVIDIA H200', 'platform': 'gpu', 'count': 2}


@pytest.fixture(autouse=True)
def handler():
    """That of SIGTERM, which the command sets."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def plan(step=0.01, layers=4e12):
    """A plan as far as it is read: seconds, FLOPs and bytes of one device."""
    return {'seconds': {'step': step}, 'flops': {'layers': layers}, 'memory': {'peak': 3 * 2**30}}


def write_lines(folder, lines):
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(records.seal(line)) + '\n' for line in lines)
    (folder / 'metrics.jsonl').write_text(text)
    assert metrics.read(epath.Path(folder / 'metrics.jsonl')) == lines


def test_hyperparameters_in_steps_keep_their_share():
    given = configs.load('configs/cifar10.py:mpl', [])
    short = configs.load('configs/cifar10.py:mpl', gpu_table.shorten(given, 3000))
    assert (given.steps, short.steps, short.finetune.steps) == (300_000, 3000, 0)
    teacher, student = (short.networks[role].optimizer for role in ('teacher', 'student'))
    assert (teacher.warmup_steps, student.warmup_steps, student.wait_steps) == (50, 50, 30)
    assert (teacher.wait_steps, short.algorithm.uda_ramp_steps) == (0, 50)
    assert (short.every.log, short.every.evaluate, short.every.save) == (50, 750, 3000)
    same = ('source', 'split', 'batch', 'views')
    assert all(short[name] == given[name] for name in same)
    assert student.learning_rate == given.networks.student.optimizer.learning_rate


def test_steps_fill_the_time_that_is_left():
    """0.9 of 100 s, for 0.01 and 0.02 s a step: 3,000 steps of each; whole 200."""
    assert gpu_session.count_steps(300, 100, [0.01, 0.02]) == 3000
    assert gpu_session.count_steps(299, 100, [0.01, 0.02]) == 2800
    assert gpu_session.count_steps(150, 100, [0.01, 0.02]) == 0
    assert gpu_session.find_paces(0.05, [plan(0.01), plan(0.02)]) == [0.025, 0.05]
    for unknown in (None, plan() | {'seconds': None}):
        assert gpu_session.find_paces(0.05, [unknown, plan()]) == [0.05, 0.05]


def test_trainings_share_what_is_left():
    """By the measured step; equally, if it could not be measured; not at all without time."""
    notes = []
    session = SimpleNamespace(left=lambda: 300.0, note=notes.append)
    row = {'ms': 20.0, 'compile_seconds': 100 - gpu_session.START}
    plans = [plan(0.01), plan(0.02)]
    assert gpu_session.share(session, row, plans) == (3000, [130, 160]) and not notes
    assert gpu_session.share(session, None, plans) == (1000, [150, 150])
    assert 'step is unknown: each training has 1,000 steps' in notes.pop()
    assert gpu_session.share(session, row | {'ms': 1000.0}, plans)[0] == 0
    assert '300 s are left, and 200 steps of each config take 500 s; give more' in notes.pop()


def test_plans_are_for_the_devices_that_are_there():
    assert gpu_session.find_topology(H200) == 'h200:2'
    assert gpu_session.find_topology(H200 | {'kind': 'NVIDIA L4'}) == 'local'
    assert gpu_session.find_topology({'kind': 'cpu', 'platform': 'cpu', 'count': 1}) == 'local'


def test_the_quickstart_has_the_accuracy_of_its_finished_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert gpu_session.read_quickstart() == {}
    for name in ('digits-uda', 'digits-mpl'):
        (tmp_path / 'runs/digits_40' / name / '0').mkdir(parents=True)
    networks = {'student': {'test': {'accuracy': 0.5}}}
    written = {'seconds': 9.0, 'devices': '1 x NVIDIA H200', 'networks': networks}
    path = epath.Path(tmp_path / 'runs/digits_40/digits-uda/0/report.json')
    records.write(path, written)
    want = {'seconds': 9.0, 'devices': '1 x NVIDIA H200', 'student': 0.5}
    assert gpu_session.read_quickstart() == {'digits-uda': want}


def test_a_stage_is_stopped_with_all_that_it_started(tmp_path):
    """SIGTERM first, so that a run can save; what goes on after it is killed."""
    beat = tmp_path / 'beat'
    script = f'(trap "" TERM; while :; do date >{beat}; sleep 0.05; done) & exec sleep 60'
    stage = gpu_stages.run('loop', ['bash', '-c', script], 0.5, tmp_path / 'log')
    assert stage.code == -signal.SIGTERM and 0.5 <= stage.seconds < 5
    beat.unlink()
    time.sleep(0.3)
    assert not beat.exists()
    done = gpu_stages.run('quick', ['bash', '-c', 'echo said; exit 3'], 20, tmp_path / 'log')
    assert done.code == 3 and done.seconds < 10
    assert (tmp_path / 'log').read_text() == 'said\n'


def test_peak_memory_of_a_device_is_that_of_its_allocator(monkeypatch):
    """None on a CPU, and for an allocator that does not count."""
    assert memory.peak_of_device() is None
    for stats, want in (({'peak_bytes_in_use': 7, 'bytes_in_use': 5}, 7), ({}, None)):
        device = SimpleNamespace(memory_stats=lambda stats=stats: stats)
        monkeypatch.setattr(jax, 'local_devices', lambda device=device: [device])
        assert memory.peak_of_device() == want


def test_row_of_a_finished_training(tmp_path):
    """1,024 images in 20 ms; 4 TFLOP of a device in them, of 989.4 each second."""
    config = configs.load('configs/cifar10.py:mpl', [])
    stamps = [{'step': 50 * n, 'seconds': 30.0 + n} for n in range(1, 5)]
    write_lines(tmp_path / 'run', stamps[:3] + [stamps[3] | {'seconds': 40.0}])
    networks = {'student': {'test': {'accuracy': 0.75}}, 'teacher': {'test': {'accuracy': 0.5}}}
    written = {'networks': networks, 'peak_device_memory_bytes': 6 * 2**30}
    records.write(epath.Path(tmp_path / 'run/report.json'), written)
    row = gpu_table.trained('mpl', config, tmp_path / 'run', plan(), H200)
    assert (row['ms'], row['steps'], row['finished']) == (20, 200, True)
    assert row['images_per_second'] == 51_200
    assert row['share_of_peak'] == pytest.approx(4e12 / 0.02 / 989.4e12)
    assert (row['part'], row['accuracy']) == ('test', {'student': 0.75, 'teacher': 0.5})
    line = gpu_table.show([row]).splitlines()[-1]
    for text in (
        ' 200 ',
        ' 20 ',
        '51,200',
        ' 20.2 ',
        ' 6.00 ',
        ' 3.00 ',
        'student 75.00, teacher 50.00',
    ):
        assert text in line, text


def test_row_of_a_training_that_was_stopped(tmp_path):
    """The accuracy is that of its last evaluation; what is not known is a dash."""
    config = configs.load('configs/cifar10.py:uda', [])
    lines = [{'step': 50, 'seconds': 9.0}, {'step': 100, 'seconds': 10.0}]
    lines += [{'step': 50, 'validation/student/accuracy': 0.125}]
    lines += [{'step': 100, 'validation/student/accuracy': 0.25, 'validation/student/nll': 2.0}]
    write_lines(tmp_path / 'run', [*lines, {'step': 150, 'seconds': 11.0}])
    row = gpu_table.trained('uda', config, tmp_path / 'run', None, H200)
    assert (row['finished'], row['part'], row['accuracy']) == (
        False,
        'validation',
        {'student': 0.25},
    )
    assert row['device_peak_bytes'] is None and row['share_of_peak'] is None
    assert '150, stopped' in gpu_table.show([row])
    nothing = gpu_table.trained('uda', config, tmp_path / 'other', None, H200)
    assert (nothing['steps'], nothing['ms'], nothing['accuracy']) == (0, None, {})
    assert gpu_table.show([nothing]).splitlines()[-1].split()[-1] == '-'


@pytest.mark.parametrize(
    'words, said',
    [
        (('--minutes=0',), '--minutes is 0.0; give a number above 0.'),
        ((), 'jax finds no GPU, but cpu; install jax'),
        (('--config.stps=3',), 'stps'),
    ],
)
def test_bad_input_is_one_sentence_before_anything_runs(words, said, tmp_path, monkeypatch):
    given = ['gpu_session', '--configs', 'configs/smoke.py', f'--out={tmp_path}/out', *words]
    monkeypatch.setattr(sys, 'argv', given)
    monkeypatch.setattr(
        gpu_session, 'find_device', lambda: {'kind': 'cpu', 'platform': 'cpu', 'count': 1}
    )
    with pytest.raises(ValueError, match=said):
        gpu_session.main()
    assert not (tmp_path / 'out').exists()


def test_a_session_on_a_cpu(tmp_path, monkeypatch, capsys):
    """All stages but the quickstart: a plan, the step alone, a training of 200 steps."""
    monkeypatch.setenv('XLA_FLAGS', '')
    monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
    monkeypatch.setattr(gpu_session, 'START', 0.0)
    monkeypatch.setattr(gpu_session, 'count_steps', lambda *_: 200)
    words = ['--trial', '--minutes=5', '--quickstart=0', '--seconds=0.2', f'--out={tmp_path}/out']
    monkeypatch.setattr(sys, 'argv', ['gpu_session', *words, '--configs', 'configs/smoke.py'])
    gpu_session.main()
    got = json.loads((tmp_path / 'out/session.json').read_text())
    assert [stage['what'] for stage in got['stages']] == ['step alone', 'train smoke']
    assert [stage['code'] for stage in got['stages']] == [0, 0] and not got['notes']
    alone, trained = got['rows']
    assert alone['ms'] > 0 and alone['planned_bytes'] == trained['planned_bytes'] > 0
    assert (trained['steps'], trained['finished'], trained['part']) == (200, True, 'test')
    assert set(trained['accuracy']) == {'student', 'student_ema', 'teacher'}
    shown = capsys.readouterr().out
    assert 'smoke, step alone' in shown and 'test: student' in shown
    with pytest.raises(ValueError, match='is there, of an earlier session'):
        gpu_session.main()
