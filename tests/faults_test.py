"""The campaigns of benchmarks/faults in small numbers, and that they find faults where there are any."""

import functools
import json
import math
import shutil
import signal
import sys

import numpy as np
import pytest
from etils import epath

from benchmarks.faults import changes, commands, disk, fuzz, kills, results, trials
from benchmarks.faults.commands import RECIPE, Ended
from benchmarks.faults.trials import FAULT, Outcome
from mpl.run import config as configs
from mpl.run import records, stages

SHORT = ['--config.steps=20', '--config.finetune.steps=0', '--config.every.save=10']


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
    """A run of the recipe, made short."""
    workdir = epath.Path(tmp_path_factory.mktemp('faults')) / 'run'
    stages.run(configs.load(f'{RECIPE}:mpl', SHORT), workdir)
    return workdir


@pytest.mark.parametrize('name', fuzz.PROPERTIES)
def test_no_input_ends_in_a_traceback_or_a_wrong_result(name):
    kinds, faults = fuzz.examine(*fuzz.PROPERTIES[name], examples=25, seed=0)
    assert not faults
    assert kinds.total() == 25


def test_fuzzing_finds_a_traceback_and_makes_it_small(monkeypatch):
    def fails_on_large(configuration, workdir, source):
        assert configuration.seed < 100, 'too large'

    monkeypatch.setattr(stages, 'assemble', fails_on_large)
    strategy = fuzz.st.tuples(
        fuzz.st.just(f'{RECIPE}:mpl'), fuzz.st.just(('seed',)), fuzz.st.integers(0, 10**6)
    )
    _, (fault,) = fuzz.examine(strategy, fuzz.check_config, examples=20, seed=0)
    assert 'seed = 100: traceback: AssertionError' in fault


def test_fuzzing_finds_pixels_of_another_picture(monkeypatch):
    make = fuzz.pictures.make

    def swapped(path, **numbers):
        source = make(path, **numbers)
        read = source.train.read
        return source._replace(train=source.train._replace(read=lambda n: read(n)[::-1]))

    monkeypatch.setattr(fuzz.pictures, 'make', swapped)
    example = [('labeled', ['a'], '0.png'), ('labeled', ['b'], '1.png')]
    with pytest.raises(AssertionError, match='has other pixels'):
        fuzz.check_folder(example)


def test_a_changed_byte_is_noticed_or_without_effect(finished, tmp_path):
    """Of each kind of file in turn: the run evaluates as before, or is refused with a sentence."""
    want = evaluate(finished, tmp_path)
    random = np.random.default_rng(0)
    for _ in range(12):
        for way in changes.WAYS:
            shutil.rmtree(tmp_path / 'changed', ignore_errors=True)
            shutil.copytree(finished, tmp_path / 'changed')
            kind, path, change = changes.alter(tmp_path / 'changed', way, random)
            got = evaluate(tmp_path / 'changed', tmp_path)
            assert got in (want, 'refused'), f'{kind}: {change} of {path}'


def evaluate(workdir, folder):
    """The numbers of mpl.evaluate, or 'refused'."""
    ended = commands.call_module('evaluate', f'--workdir={workdir}', f'--json={folder}/test.json')
    assert commands.find_fault(ended) is None
    if ended.code:
        return 'refused'
    return json.loads((folder / 'test.json').read_text())['networks']


def test_results_differ_where_one_bit_does(finished, tmp_path):
    shutil.copytree(finished, tmp_path / 'run')
    want = results.find(finished)
    assert results.differences(results.find(tmp_path / 'run'), want) == ''
    report = tmp_path / 'run' / 'report.json'
    record = json.loads(report.read_text())
    test = record['networks']['student']['test']
    test['accuracy'] = math.nextafter(test['accuracy'], 2)
    report.write_text(json.dumps(record))
    assert results.differences(results.find(tmp_path / 'run'), want).startswith('report.')


@pytest.mark.parametrize('key, differs', [('unlabeled', True), ('made_by', False)])
def test_a_split_is_compared_without_what_made_it(finished, tmp_path, key, differs):
    """Its provenance names the folder, which differs between runs of the same bits."""
    record = json.loads((finished / 'split.json').read_text())
    changed = {k: v for k, v in record.items() if k != records.CHECKSUM}
    changed[key] = changed[key][1:] if key == 'unlabeled' else {'teacher': 'elsewhere'}
    path = tmp_path / 'split.json'
    path.write_text(json.dumps(records.seal(changed)))
    same = results._hash_split(path) == results._hash_split(finished / 'split.json')
    assert same != differs


LINES = """
import pathlib, sys, time
path = pathlib.Path(sys.argv[1]) / 'lines'
path.parent.mkdir(exist_ok=True)
first = not path.exists()
for step in range(5):
    with open(path, 'a') as file:
        file.write(f'{step}\\n')
if first and WAITS:
    time.sleep(60)
"""


@pytest.mark.parametrize(
    'code, moments, kinds',
    [
        (LINES.replace('WAITS', 'False'), [], ['ended before the kill']),
        (LINES.replace('WAITS', 'True'), [4.0], [FAULT]),
        (LINES.replace('WAITS', 'True').replace("'a'", "'a' if step else 'w'"), [4.0], ['same results']),
    ],
)  # fmt: skip
def test_a_command_that_does_not_go_on_is_a_fault(code, moments, kinds, tmp_path, monkeypatch):
    """The second writes its lines again, where it is started again."""

    def start(*arguments):
        words = [sys.executable, '-c', code, *map(str, arguments)]
        return kills.subprocess.Popen(words, stdout=-1, stderr=-1, text=True)

    monkeypatch.setattr(commands, 'start', start)
    case = kills.Case(lambda place: [place], lambda place: {'lines': (place / 'lines').read_text()})
    want = {'lines': ''.join(f'{step}\n' for step in range(5))}
    outcomes = kills.kill('x', case, tmp_path / 'run', signal.SIGKILL, moments, want)
    assert [outcome.kind for outcome in outcomes] == kinds
    for outcome in outcomes:
        assert (outcome.kind == FAULT) == (
            '1 kills' in outcome.detail and 'lines' in outcome.detail
        )


@pytest.mark.parametrize('way', ['mounted', 'limited'])
def test_a_full_disk_is_found_to_be_full(way, tmp_path):
    """And has room again: this is what the campaign rests on."""
    with disk.mounted(tmp_path) as mounted:
        place = mounted if way == 'mounted' else mounted._replace(limit=disk._file_limit)
        code = f'input(); open({str(place.folder / "large")!r}, "wb").write(bytes(10 << 20))'
        for room, sentence in ((1 << 20, 'OSError'), (20 << 20, '')):
            with place.limit(room) as limit:
                words, pipe = [sys.executable, '-c', code], disk.subprocess.PIPE
                process = disk.subprocess.Popen(words, stdin=pipe, stderr=pipe, text=True)
                limit(process.pid)
                _, errors = process.communicate('\n')
            assert sentence in errors and bool(process.returncode) == bool(sentence)


@pytest.mark.parametrize(
    'ended, fault',
    [
        (Ended(0, 'fine', ''), None),
        (Ended(2, '', 'error: steps is 0; give a number above 0.'), None),
        (Ended(1, '', ''), 'exit code 1 without a sentence'),
        (Ended(-11, '', 'Segmentation fault'), 'exit code -11 without a sentence'),
        (
            Ended(0, '', 'Traceback (most recent call last):\n  x\nKeyError: 3'),
            'traceback: KeyError',
        ),
    ],
)
def test_the_end_of_a_command(ended, fault):
    found = commands.find_fault(ended)
    assert found is None if fault is None else found.startswith(fault)


def test_trials_go_on_where_they_stopped_and_are_counted(tmp_path):
    tried = []

    def trial(number):
        tried.append(number)
        if number == 3:
            raise KeyboardInterrupt
        return [Outcome('a', 'refused' if number else FAULT, 'why' if not number else '')]

    repeat = functools.partial(trials.repeat, tmp_path, 'name', trial=trial)
    with pytest.raises(KeyboardInterrupt):
        repeat(count=5)
    outcomes = repeat(count=3)
    assert tried == [0, 1, 2, 3] and len(outcomes) == 3
    table = trials.show(outcomes)
    assert 'a: why' in table and table.split('\n')[2].split() == ['a', '3', '2', '1']
