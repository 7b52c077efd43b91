"""Two processes, as on two hosts, that train one run: on this machine, joined by the CPU's collectives."""

import argparse
import concurrent.futures
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import chex
import numpy as np
import pytest
from etils import epath

from mpl.parallel import processes
from mpl.run import config as configs
from mpl.run import metrics, stages

ROOT = pathlib.Path(__file__).parent.parent
STEPS = 300
NUMBERS = [
    f'--config.steps={STEPS}',
    '--config.finetune.steps=0',
    '--config.networks.teacher.optimizer.learning_rate=0.01',
    '--config.networks.student.optimizer.learning_rate=0.01',
    '--config.every.log=10',
    '--config.every.evaluate=150',
    '--config.every.save=100',
]


def begin(workdir, words=('--config=configs/smoke.py', *NUMBERS)):
    """Both processes, with a device each."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        'XLA_FLAGS': '--xla_force_host_platform_device_count=1',
        'JAX_DISABLE_MOST_OPTIMIZATIONS': '1',
    }
    return [
        subprocess.Popen(
            [
                *(sys.executable, '-m', 'mpl.train', *words, f'--workdir={workdir}'),
                *(f'--coordinator=localhost:{port}', '--num_processes=2', f'--process_id={number}'),
            ],
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip


def end(running):
    """Exit codes and outputs of both."""
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        outputs = list(threads.map(lambda process: process.communicate(timeout=200), running))
    return [process.returncode for process in running], outputs


def wait_for_step(workdir, step):
    path = workdir / 'metrics.jsonl'
    for _ in range(1200):
        if path.exists() and any(line['step'] >= step for line in metrics.read(path)):
            return
        time.sleep(0.1)
    raise TimeoutError(f'no line of step {step} in {path}')


def lines(workdir):
    """What is written of each step, less what no two runs share."""
    found = metrics.read(workdir / 'metrics.jsonl')
    return [{k: v for k, v in line.items() if k != 'seconds'} for line in found]


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
    """The lines of the same run in one process, on eight devices."""
    workdir = epath.Path(tmp_path_factory.mktemp('alone')) / 'run'
    stages.run(configs.load('configs/smoke.py', NUMBERS), workdir)
    return lines(workdir)


def assert_same(got, want):
    assert [line['step'] for line in got] == [line['step'] for line in want]
    chex.assert_trees_all_close(got, want, rtol=1e-2, atol=1e-2)


def test_a_signal_to_one_stops_all_at_one_step_and_all_go_on(alone, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    running = begin(workdir)
    wait_for_step(workdir, 10)
    running[1].send_signal(signal.SIGTERM)
    codes, outputs = end(running)
    assert codes == [143, 143], outputs
    (sentence,) = [line for line in outputs[0][1].splitlines() if 'received: saved step' in line]
    saved = int(sentence.split('saved step ')[1].split()[0])
    assert 10 < saved < STEPS and 'received: saved step' not in outputs[1][1]
    assert (workdir / 'checkpoints' / str(saved)).exists()
    codes, outputs = end(begin(workdir))
    assert codes == [0, 0], outputs
    assert f'resumes from step {saved}' in outputs[0][1]
    assert 'student_ema' in outputs[0][0] and 'student_ema' not in outputs[1][0], outputs
    assert_same(lines(workdir), alone)
    assert json.loads((workdir / 'report.json').read_text())['devices'] == '2 x cpu'


TAUGHT = """
from configs import smoke

def get_config():
    teacher, student = smoke.get_config(), smoke.get_config()
    for config in (teacher, student):
        config.finetune.steps = 0
        del config.networks.teacher
    teacher.algorithm = dict(name='supervised')
    teacher.batch.unlabeled = 0
    student.algorithm = dict(name='noisy_student')
    student.teacher = dict(config=teacher.to_dict(), network='student', per_class=50, balance=True)
    return student
"""


@pytest.mark.skipif(
    os.environ.get('MPL_TEST_MESHES') != 'all', reason='a minute more, with MPL_TEST_MESHES=all'
)
def test_a_teacher_labels_for_both(tmp_path):
    """A teacher trained by both has the logits of one trained by one process, and both read the saved rows."""
    recipe = tmp_path / 'taught.py'
    recipe.write_text(TAUGHT)
    one, two = epath.Path(tmp_path) / 'one', epath.Path(tmp_path) / 'two'
    codes, outputs = end(begin(two, [f'--config={recipe}']))
    assert codes == [0, 0], outputs
    stages.run(configs.load(str(recipe), []), one)
    rows = [np.load(workdir / 'logits.npy') for workdir in (one, two)]
    np.testing.assert_allclose(*rows, rtol=0, atol=1e-3)
    assert np.nanstd(rows[0]) > 0.1
    reports = [json.loads((workdir / 'report.json').read_text()) for workdir in (one, two)]
    assert [report['devices'] for report in reports] == ['8 x cpu', '2 x cpu']
    assert reports[0]['selected'].keys() == reports[1]['selected'].keys()
    rows = [metrics.read(workdir / 'metrics.jsonl') for workdir in (one, two)]
    assert [r['step'] for r in rows[0]] == [r['step'] for r in rows[1]]


def test_one_that_is_lost_ends_the_others(tmp_path):
    """By our sentence, or by jax's, if it hears of it first."""
    workdir = epath.Path(tmp_path) / 'run'
    running = begin(workdir)
    wait_for_step(workdir, 110)
    running[1].kill()
    started = time.monotonic()
    codes, outputs = end(running)
    assert time.monotonic() - started < processes.PATIENCE + 30
    assert codes[0] not in (0, 2), outputs
    sentences = ('process 0 of 2 cannot go on with the others', 'another task died')
    assert any(sentence in outputs[0][1] for sentence in sentences), outputs
    assert (workdir / 'checkpoints' / '100').exists() and not (workdir / 'report.json').exists()


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['--coordinator=localhost:1'], 'Give all of --coordinator, --num_processes and'),
        (
            ['--coordinator=localhost:1', '--num_processes=2', '--process_id=2'],
            '--process_id is 2; give a number from 0 to 1',
        ),
        (['--distributed'], 'The processes did not find each other'),
    ],
)
def test_what_does_not_make_processes_is_refused(arguments, sentence):
    parser = argparse.ArgumentParser()
    processes.add_arguments(parser)
    with pytest.raises(ValueError, match=sentence):
        processes.join(parser.parse_args(arguments))


@pytest.mark.parametrize('number', [0, 1])
def test_one_that_waits_in_vain_ends_with_a_sentence(number):
    """Where jax alone would abort with a stack trace."""
    code = (
        'import argparse; from mpl.parallel import processes; processes.MEETING = 1; '
        "processes.join(argparse.Namespace(coordinator='localhost:1', num_processes=2, "
        f'process_id={number}, distributed=False))'
    )
    if number == 0:
        with socket.socket() as free:
            free.bind(('localhost', 0))
            code = code.replace('localhost:1', f'localhost:{free.getsockname()[1]}')
    ended = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert ended.returncode == 2, ended.stderr
    assert 'error: The processes did not find each other within 1 s.' in ended.stderr
    assert 'Traceback' not in ended.stderr and 'stack trace' not in ended.stderr
