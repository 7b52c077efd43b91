"""Configs over seeds: the numbers of the table, and runs that fail, die or are stopped."""

import csv
import json
import multiprocessing
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from mpl import compare
from mpl.comparison import plots, runs, table, workers
from mpl.run import records

SMOKE = 'configs/smoke.py'
# A config file that is the smoke config with other numbers.
OTHER = """
import runpy

def get_config({argument}):
    config = runpy.run_path('configs/smoke.py')['get_config']()
    config.finetune.steps = 0
    {change}
    return config
"""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One device for each worker, and programs compiled fast."""
    monkeypatch.setenv('XLA_FLAGS', '')
    monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')


def write(path, change='', argument=''):
    path.write_text(OTHER.format(change=change, argument=argument))
    return str(path)


def command(monkeypatch, *arguments):
    """The exit code of the command."""
    monkeypatch.setattr(sys, 'argv', ['compare', *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    return ended.value.code


def report(test, seconds=1.0, memory=1, **networks):
    named = {'student': test} | networks
    return {
        'networks': {
            name: {'test': {'accuracy': t}, 'validation': {'accuracy': t / 2}}
            for name, t in named.items()
        },
        'seconds': seconds,
        'peak_memory_bytes': memory,
        'images_seen': 960,
        'flops': {'step': 5, 'run': 50},
        'weights': 'last checkpoint',
        'source': {'name': 'digits'},
        'split': {'labeled': 20, 'unlabeled': 1097, 'validation': 100},
    }


@pytest.fixture
def reports():
    """Two configs; seed 1 of the second is missing."""
    return {
        'a': {2: report(0.7, 3.0, 5), 0: report(0.4, 1.0, 9), 1: report(0.1, 2.0, 7)},
        'b': {0: report(0.5, teacher=0.2), 2: report(0.6, teacher=0.9)},
    }


def test_rows_have_mean_spread_and_paired_difference(reports):
    a, b, teacher = table.gather(reports)
    assert [(row.config, row.network) for row in (a, b, teacher)] == [
        ('a', 'student'), ('b', 'student'), ('b', 'teacher')
    ]  # fmt: skip
    assert a.seeds == [0, 1, 2]
    assert (a.seconds, a.memory, a.images, a.flops) == (2.0, 9, 960, 50)
    np.testing.assert_array_equal(a.test, [0.4, 0.1, 0.7])
    np.testing.assert_allclose(b.difference, [0.5 - 0.4, 0.6 - 0.7])  # not of seed 1
    np.testing.assert_allclose(teacher.difference, [0.2 - 0.4, 0.9 - 0.7])
    lines = table.show([a, b, teacher], 'plain').splitlines()
    # (0.4, 0.1, 0.7): standard deviation 0.3 with n - 1; (0.1, -0.1): standard error 0.1.
    assert '40.00 ± 30.00' in lines[1] and ' 20.00 ' in lines[1]
    assert '55.00 ± 7.07' in lines[2] and '+0.00 ± 10.00' in lines[2]
    assert '+0.00 ± 20.00' in lines[3] and lines[3].endswith('5.00e+01')


def test_one_seed_has_no_spread_and_a_run_without_test_no_number(reports):
    one = {name: {0: of[0]} for name, of in reports.items()}
    for of in one.values():
        del of[0]['networks']['student']['test'], of[0]['flops']
    lines = table.show(table.gather(one), 'plain').splitlines()
    assert '- ± -' in lines[1] and '20.00 ± -' in lines[3] and lines[1].endswith(' -')


def test_files_of_the_table(reports, tmp_path):
    rows = table.gather(reports)
    files = table.write(rows, 'Of digits.', ['b, seed 1, failed: of old age.'], tmp_path)
    assert files == [tmp_path / 'compare.md', tmp_path / 'compare.csv']
    text = (tmp_path / 'compare.md').read_text()
    assert text.startswith('Of digits.\n\n| config')
    assert '- b, seed 1, failed: of old age.' in text and '| teacher' in text
    with (tmp_path / 'compare.csv').open(newline='') as file:
        lines = list(csv.DictReader(file))
    assert float(lines[0]['test_std']) == np.std([0.4, 0.1, 0.7], ddof=1)
    assert float(lines[1]['difference_se']) == pytest.approx(0.1)
    assert lines[1]['seeds'] == '0 2' and lines[1]['test_by_seed'] == '0.5 0.6'
    assert lines[1]['labels'] == '20'


def test_runs_without_any_accuracy_have_no_figure(tmp_path):
    """Of self-supervised training without labels, which a table of probes may follow."""
    rows = table.gather({'a': {0: report(np.nan)}})
    assert plots.write(rows, tmp_path) == [] and not list(tmp_path.iterdir())
    both = table.gather({'a': {0: report(np.nan)}, 'b': {0: report(0.5)}})
    assert [path.name for path in plots.write(both, tmp_path)] == ['compare.png']


def test_odd_names_break_no_table_and_no_picture(tmp_path):
    names = ['a|b', '<b>*x*', '$5$ & $\\bad{', '"q", \'r\'', '_c']
    reports = {name: {0: report(0.5), 1: report(0.6)} for name in names}
    rows = table.gather(reports)
    table.write(rows, 'Of digits.', [], tmp_path)
    assert len(plots.write(rows, tmp_path)) == 2
    lines = (tmp_path / 'compare.md').read_text(encoding='utf-8').splitlines()[2:]
    assert len({len(re.findall(r'(?<!\\)\|', line)) for line in lines}) == 1
    assert '\\<b>\\*x\\*' in lines[3]
    with (tmp_path / 'compare.csv').open(newline='', encoding='utf-8') as file:
        assert [line['config'] for line in csv.DictReader(file)] == names


def test_names_of_what_the_command_writes_are_refused(tmp_path):
    for name in ('compare.md', 'curves.png'):
        path = write(tmp_path / f'{name}.py')
        with pytest.raises(ValueError, match='cannot be in a folder'):
            runs.load([path], [])


def test_damaged_metrics_cost_the_curves_alone(tmp_path, caplog):
    folder = tmp_path / 'a' / '0'
    folder.mkdir(parents=True)
    (folder / 'metrics.jsonl').write_text('{"step": 1}\n')
    (tmp_path / 'curves.png').write_bytes(b'of before')
    assert runs.draw_curves({'a': None}, 1, tmp_path) == []
    assert 'curves.png is not drawn: Line 1 of' in caplog.text
    assert not (tmp_path / 'curves.png').exists()


def test_differences_are_to_the_first_config_with_as_many_labels(reports):
    """Else all would be to the labels-only run with the fewest."""
    reports['c'] = {0: report(0.9), 2: report(0.8)}
    reports['d'] = {2: report(0.7)}
    for name in 'cd':
        for one in reports[name].values():
            one['split'] = one['split'] | {'labeled': 40}
    *_, c, d = rows = table.gather(reports)
    assert [row.labels for row in rows] == [20, 20, 20, 40, 40]
    np.testing.assert_allclose(c.difference, [0, 0])
    np.testing.assert_allclose(d.difference, [0.7 - 0.8])
    lines = table.show(rows, 'plain').splitlines()[1:]
    assert [line.split()[5] for line in lines] == ['-', '+0.00', '+0.00', '-', '-10.00']


def test_configs_are_named_by_file_and_argument(tmp_path):
    path = write(tmp_path / 'some.py', 'config.steps = int(steps)', 'steps')
    named = runs.load([f'{path}:7', SMOKE, f'{path}:9'], ['--config.split.labels=30'])
    assert list(named) == ['some-steps=7', 'smoke', 'some-steps=9']
    assert [config.steps for config in named.values()] == [7, 20, 9]
    assert all(config.split.labels == 30 for config in named.values())


def test_plan_goes_seed_by_seed_and_leaves_out_what_is_finished(tmp_path):
    named = {'a': runs.load([SMOKE], [])['smoke'], 'b': runs.load([SMOKE], [])['smoke']}
    jobs, reports = runs.plan(named, 2, tmp_path)
    assert [(job.name, job.seed) for job in jobs] == [('a', 0), ('b', 0), ('a', 1), ('b', 1)]
    assert [job.config['seed'] for job in jobs] == [0, 0, 1, 1]
    assert reports == {'a': {}, 'b': {}}
    folder = tmp_path / 'b' / '0'
    folder.mkdir(parents=True)
    records.write(folder / 'config.json', jobs[1].config)
    records.write(folder / 'report.json', {'seconds': 1})
    jobs, reports = runs.plan(named, 2, tmp_path)
    assert [(job.name, job.seed) for job in jobs] == [('a', 0), ('a', 1), ('b', 1)]
    assert reports == {'a': {}, 'b': {0: {'seconds': 1}}}
    named['b'] = runs.load([SMOKE], ['--config.steps=40'])['smoke']
    with pytest.raises(ValueError, match='another config .steps: 20 -> 40'):
        runs.plan(named, 2, tmp_path)


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['--seeds=0'], '--seeds is 0; give a number above 0'),
        (['--jobs=-1'], '--jobs is -1; give a number above 0'),
        (['--minutes=nan'], '--minutes is nan; give a number above 0'),
        (['--configs', SMOKE, './configs/smoke.py'], "have the name 'smoke'"),
        (['--configs', SMOKE, 'configs/none.py'], 'no config file configs/none.py'),
        (['--config.seed=3'], '--config.seed is not allowed here'),
        (['--config.batch.labeled=-8'], 'smoke: batch.labeled is -8'),
    ],
)
def test_refusals_come_before_any_run(tmp_path, monkeypatch, arguments, sentence):
    workdir = tmp_path / 'runs'
    monkeypatch.setattr(
        sys, 'argv',
        ['compare', '--configs', SMOKE, f'--workdir={workdir}', '--jobs=1', '--seeds=1', *arguments],
    )  # fmt: skip
    with pytest.raises(ValueError, match=sentence):
        compare.main()
    assert not workdir.exists()


def test_a_run_that_fails_is_named_and_the_others_go_on(tmp_path, monkeypatch, capfd):
    bad = write(tmp_path / 'bad.py', 'config.networks.student.optimizer.learning_rate = 1e30')
    good = write(tmp_path / 'good.py')
    workdir = tmp_path / 'runs'
    given = ['--configs', bad, good, '--seeds=1', '--jobs=1', f'--workdir={workdir}']
    assert command(monkeypatch, *given) == 1
    printed = capfd.readouterr()
    failure = 'bad, seed 0, failed: '
    assert failure in printed.err and 'is not finite at step' in printed.err
    assert 'good, seed 0: test student' in printed.err
    assert 'Traceback' not in printed.err
    assert 'Traceback' in (workdir / 'bad' / '0.log').read_text()
    assert '20/20' in (workdir / 'good' / '0.log').read_text()
    result = json.loads((workdir / 'good' / '0' / 'report.json').read_text())
    percent = f'{100 * result["networks"]["student"]["test"]["accuracy"]:.2f}'
    assert percent in printed.out and failure in (workdir / 'compare.md').read_text()
    assert 'Data: digits, 20 labeled, 1,097 unlabeled, 100 validation.' in printed.out
    written = printed.out.splitlines()[-1].removeprefix('Written: ').split(', ')
    assert sorted(written) == sorted(str(path) for path in workdir.iterdir() if path.is_file())
    # Again, without the bad one: nothing is left to do.
    given = ['--configs', good, '--seeds=1', '--jobs=1', f'--workdir={workdir}']
    monkeypatch.setattr(workers, '_start', None)
    assert command(monkeypatch, *given) == 0
    assert percent in capfd.readouterr().out


def test_a_worker_that_dies_is_replaced_and_a_stop_saves(tmp_path, monkeypatch, capfd):
    long = write(tmp_path / 'long.py', 'config.steps = 10**6; config.every.save = 10**6')
    workdir = tmp_path / 'runs'
    dead, stopped = (workdir / 'long' / str(seed) for seed in (0, 1))

    def wait(folder):
        deadline = time.monotonic() + 120
        lines = folder / 'metrics.jsonl'
        while time.monotonic() < deadline and not (lines.exists() and lines.read_text()):
            time.sleep(0.05)

    def disturb():
        wait(dead)
        (worker,) = multiprocessing.active_children()
        worker.kill()
        wait(stopped)
        os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    thread = threading.Thread(target=disturb)
    thread.start()
    given = ['--configs', long, '--seeds=3', '--jobs=1', f'--workdir={workdir}']
    code = command(monkeypatch, *given)
    thread.join()
    assert code == 128 + signal.SIGTERM
    error = capfd.readouterr().err
    assert 'long, seed 0, failed: its process ended with exit code -9' in error
    assert 'SIGTERM received. 0 of 3 runs are finished' in error and 'resumes from there' in error
    assert 'seed 1, failed' not in error and not (workdir / 'long' / '2').exists()
    (step,) = [int(p.name) for p in (stopped / 'checkpoints').iterdir() if p.name.isdigit()]
    assert 0 < step < 10**6
    assert not multiprocessing.active_children()
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


ALONE = """
import sys, time
from mpl.comparison import workers
from mpl.run import config as configs

if __name__ == '__main__':
    config = configs.load('configs/smoke.py', ['--config.steps=1000000']).to_dict()
    worker = workers._start([])
    worker.pipe.send(workers.Job('smoke', 0, config, sys.argv[1]))
    print(worker.process.pid, flush=True)
    time.sleep(600)
"""


def test_a_kill_of_the_command_ends_its_workers(tmp_path):
    (tmp_path / 'alone.py').write_text(ALONE)
    parent = subprocess.Popen(
        [sys.executable, str(tmp_path / 'alone.py'), str(tmp_path / 'run')],
        env=os.environ | {'PYTHONPATH': '.', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'},
        stdout=subprocess.PIPE,
        text=True,
    )
    worker = int(parent.stdout.readline())
    while not (tmp_path / 'run' / 'metrics.jsonl').exists():
        assert parent.poll() is None
        time.sleep(0.1)
    parent.kill()
    parent.wait()
    for _ in range(300):
        if not pathlib.Path(f'/proc/{worker}').exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    raise AssertionError('the worker trains on')


def test_warnings_of_runs_are_named(reports):
    reports['b'][2]['warnings'] = [{'kind': 'mask', 'step': 80, 'sentence': 'step 80: nothing.'}]
    reports['a'][0]['warnings'] = []
    assert runs.warnings(reports) == ['b, seed 2, step 80: nothing.']


def test_minutes_end_a_comparison_as_a_signal_would(tmp_path, monkeypatch, capfd):
    long = write(tmp_path / 'long.py', 'config.steps = 10**6; config.every.save = 10**6')
    workdir = tmp_path / 'runs'
    given = ['--configs', long, '--seeds=2', '--jobs=1', f'--workdir={workdir}']
    started = time.monotonic()
    assert command(monkeypatch, *given, '--minutes=0.02') == 128 + signal.SIGTERM
    assert time.monotonic() - started > 1.2
    error = capfd.readouterr().err
    assert 'SIGTERM received. 0 of 2 runs are finished' in error and 'resumes from there' in error
    assert not multiprocessing.active_children() and not (workdir / 'long' / '1').exists()


def test_what_ends_in_time_gets_no_signal():
    caught = []
    before = signal.signal(signal.SIGTERM, lambda *_: caught.append(1))
    try:
        with runs.limit(0.001):
            pass
        with runs.limit(None):
            time.sleep(0.1)
        assert not caught
        with runs.limit(0.001):
            time.sleep(0.2)
        assert caught == [1]
    finally:
        signal.signal(signal.SIGTERM, before)


def test_shares_cut_the_cores(monkeypatch):
    monkeypatch.setattr(os, 'sched_getaffinity', lambda _: {3, 1, 7, 5, 9}, raising=False)
    monkeypatch.setattr(os, 'sched_setaffinity', lambda *_: None, raising=False)
    assert workers._split_cores(2) == [[1, 3], [5, 7, 9]]
    assert workers._split_cores(1) == [[1, 3, 5, 7, 9]]
    assert workers._split_cores(6) == [[1], [1], [3], [5], [7], [9]]
