"""Files of a run that are changed or cut short after they were written."""

import functools
import hashlib
import json
import multiprocessing
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.faults import commands, results
from benchmarks.faults.commands import RECIPE, Ended
from benchmarks.faults.trials import FAULT, Outcome, repeat

PATIENCE = 600  # seconds that all commands of a trial may take
STEPS = ['--config.steps=30', '--config.teacher.config.steps=30', '--config.every.save=10']
NAMED = (
    'config.json', 'data.json', 'split.json', 'selected.json', 'selected_counts.json', 'logits.npy',
    'logits.json', 'report.json', 'metrics.jsonl',
)  # fmt: skip
WAYS = ('byte', 'end')  # what of a file is changed


class Step(NamedTuple):
    """A command of a trial."""

    name: str
    run: Callable[[], Ended]
    find: Callable[[], dict]  # its results once it has ended, JSON-serializable


def campaign(folder: Path, changes: int, truncations: int, seed: int) -> list[Outcome]:
    """Changes single bytes, and cuts off ends, of the files of a finished run and of one under way.

    After each change every command that reads the run has to be refused with a sentence, or to
    give the results that it gives without the change.
    """
    make_runs(folder / 'runs')
    outcomes = []
    for way, count in zip(WAYS, (changes, truncations), strict=True):
        trial = functools.partial(_isolated, folder, seed, way)
        outcomes += repeat(folder, way, count, trial)
    return outcomes


def make_runs(folder: Path) -> None:
    """A finished run in <folder>/finished, beside its logits, and one under way in <folder>/begun."""
    if (folder / 'begun').exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    finished = folder / 'finished'
    for words in (_compare(finished), _predict(finished)):
        ended = commands.run(*words)
        if ended.code:
            raise RuntimeError(f'{words} ends with code {ended.code}: {ended.errors}')
    shutil.copytree(finished, folder / 'begin')
    for path in (workdir(folder / 'begin')).iterdir():
        if path.name == 'report.json' or path.suffix == '.png':
            path.unlink()
    shutil.rmtree(workdir(folder / 'begin') / 'checkpoints' / '30')
    (folder / 'begin').rename(folder / 'begun')


def workdir(folder: Path) -> Path:
    """Of the run, in a folder of `make_runs`."""
    return folder / 'compared' / 'recipe-kind=taught' / '0'


def try_change(folder: Path, seed: int, way: str, number: int) -> Outcome:
    """One change of a file, and all commands after it, compared with those before it."""
    random = np.random.default_rng([seed, WAYS.index(way), number])
    which = ('finished', 'begun')[number % 2]
    want = _undisturbed(folder, which)
    scratch = _copy(folder, which)
    kind, path, change = alter(scratch, way, random)
    case, refused = f'{kind}, {way}', False
    for step in steps(scratch, which):
        ended = step.run()
        fault = commands.find_fault(ended)
        if not fault and not ended.code:
            try:
                found, expected = json.loads(json.dumps(step.find())), want[step.name]
            except ValueError:  # A result that is refused when it is read.
                refused = True
                continue
            left_out = {
                n for n in found if found[n] is None and f'{n} is not drawn' in ended.errors
            }
            refused |= bool(left_out)  # With a warning, which names the file.
            kept = [{n: of[n] for n in of if n not in left_out} for of in (found, expected)]
            fault = results.differences(*kept)
        if fault:
            detail = f'{change} of {path.relative_to(scratch)} ({which}): {step.name}: {fault}'
            return Outcome(case, FAULT, f'trial {number}: {detail}')
        refused |= bool(ended.code)
    return Outcome(case, 'refused' if refused else 'no effect')


def alter(folder: Path, way: str, random: np.random.Generator) -> tuple[str, Path, str]:
    """Changes one file in a folder, drawn by kind first; returns the kind, the file and the change."""
    kinds = {}
    for path in sorted(folder.rglob('*')):
        if path.is_file() and path.stat().st_size:
            kind = path.name if path.name in NAMED else 'others'
            kind = 'checkpoints' if 'checkpoints' in path.parts else kind
            kinds.setdefault(kind, []).append(path)
    kind = str(random.choice(sorted(kinds)))
    path = kinds[kind][random.integers(len(kinds[kind]))]
    content = bytearray(path.read_bytes())
    place = int(random.integers(len(content)))
    if way == 'end':
        path.write_bytes(content[:place])
        return kind, path, f'the end from byte {place} on'
    old = content[place]
    content[place] ^= int(random.integers(1, 256))
    path.write_bytes(content)
    return kind, path, f'byte {place} ({bytes([old])!r} -> {bytes([content[place]])!r})'


def steps(scratch: Path, which: str) -> Iterator[Step]:
    """The commands that read the run, in order."""
    run, out = workdir(scratch), scratch / 'out'
    out.mkdir()

    def step(name, words, find):
        return Step(name, functools.partial(commands.call_module, *words), find)

    def content(*names):
        return {n: _checksum(scratch / n) for n in names}

    if which == 'begun':
        found = []
        train = [
            'train',
            f'--config={RECIPE}:taught',
            f'--workdir={run}',
            '--config.seed=0',
            *STEPS,
        ]
        yield step('train', train, dict)
        yield Step(
            'results',
            lambda: commands.call(lambda: found.append(results.find(run))),
            lambda: found[0],
        )
        return
    logits = f'{scratch}/logits.npy'
    yield step(
        'evaluate',
        ['evaluate', f'--workdir={run}', f'--json={out}/test.json'],
        lambda: content('out/test.json'),
    )
    yield step(
        'predict',
        ['predict', f'--workdir={run}', '--split=test', f'--output={out}/test.csv'],
        lambda: content('out/test.csv'),
    )
    yield step(
        'logits',
        _predict(scratch),
        lambda: {'logits.npy': results.hash_logits(scratch / 'logits.npy')},
    )
    yield step(
        'select',
        ['select', f'--workdir={run}', f'--logits={logits}', '--per_class=20',
         f'--output={out}/selected.json'],
        lambda: content('out/selected.json'),
    )  # fmt: skip
    yield step(
        'compare',
        _compare(scratch),
        lambda: content('compared/compare.csv', 'compared/compare.md', 'compared/curves.png'),
    )


def _checksum(path):
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


def _compare(folder):
    return [
        *('compare', '--seeds=1', '--jobs=1', f'--workdir={folder}/compared'),
        *('--configs', f'{RECIPE}:taught', *STEPS),
    ]


def _predict(folder):
    run = workdir(folder)
    return ['predict', f'--workdir={run}', '--split=train', f'--logits={folder}/logits.npy']


def _copy(folder: Path, which: str) -> Path:
    """The run in a folder that has the same name in every trial."""
    scratch = folder / 'scratch'
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(folder / 'runs' / which, scratch)
    return scratch


def _undisturbed(folder: Path, which: str) -> dict:
    """The results of every command without a change."""
    path = folder / f'{which}.json'
    if not path.exists():
        want = {}
        for step in steps(_copy(folder, which), which):
            ended = step.run()
            if ended.code:
                raise RuntimeError(f'{step.name} ends with code {ended.code}: {ended.errors}')
            want[step.name] = step.find()
        path.write_text(json.dumps(want), encoding='utf-8')
    return json.loads(path.read_text(encoding='utf-8'))


def _isolated(folder: Path, seed: int, way: str, number: int) -> list[Outcome]:
    """`try_change` in a worker process, which may crash or hang."""
    try:
        return [_worker().submit(_limited, folder, seed, way, number).result()]
    except futures.process.BrokenProcessPool:
        _worker.cache_clear()
        detail = f'trial {number}: the process crashed or took more than {PATIENCE} s'
        return [Outcome(f'any, {way}', FAULT, detail)]


@functools.cache
def _worker():
    return futures.ProcessPoolExecutor(1, multiprocessing.get_context('spawn'))


def _limited(*arguments) -> Outcome:
    signal.alarm(PATIENCE)  # Ends the process, wherever it is.
    try:
        return try_change(*arguments)
    finally:
        signal.alarm(0)
