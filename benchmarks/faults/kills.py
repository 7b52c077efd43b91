"""Commands that are killed again and again at random moments, until they end."""

import functools
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.faults import commands, results
from benchmarks.faults.commands import RECIPE, Ended
from benchmarks.faults.trials import FAULT, Outcome, repeat

PATIENCE = 600  # seconds in which a command ends
SIGNALS = (signal.SIGKILL, signal.SIGTERM)


class Case(NamedTuple):
    """A command that writes into a folder, and what it leaves there."""

    words: Callable[[Path], list[str]]  # of the command, by its folder
    find: Callable[[Path], dict]  # the results in the folder, once the command has ended


def campaign(
    folder: Path, kills: int, seed: int, names: list[str], signals=SIGNALS
) -> list[Outcome]:
    """Kills each command `kills` times by each signal, in as many runs as that takes.

    A run is killed, and started again in its folder, until it ends; it has to leave the results of
    a run that nobody kills. The moments are uniform over the time that one takes.

    Args:
      folder: of the campaign, which goes on where it was stopped.
      kills: of each command by each signal.
      seed: of the moments.
      names: of CASES.
      signals: to kill by.
    """
    outcomes = []
    for name in names:
        case = CASES[name](folder)
        want, seconds = _unbroken(case, folder / f'{name}_unbroken')
        for number in signals:
            label = f'{name}, {number.name}'

            def trial(done, label=label, case=case, number=number, want=want, seconds=seconds):
                random = np.random.default_rng([seed, number, done])
                moments = random.uniform(0, seconds, kills - done)
                place = folder / f'{label.replace(", ", "_")}_{done}'
                return kill(label, case, place, number, moments.tolist(), want)

            outcomes += repeat(folder, label, kills, trial)
    return outcomes


def kill(
    label: str, case: Case, place: Path, number: signal.Signals, moments: list[float], want: dict
) -> list[Outcome]:
    """The outcomes of one run, one for each time that it was killed, or one where it never was.

    Args:
      label: the case, for the table.
      case: the command.
      place: its folder, made anew, and removed where there was no fault.
      number: the signal.
      moments: seconds after its start at which the command is killed, one for each start; from the
        last on it is left alone.
      want: its results when nobody kills it.
    """
    shutil.rmtree(place, ignore_errors=True)
    words, killed = case.words(place), 0
    for moment in [*moments, None]:
        process = commands.start(*words)
        try:
            ended = commands.finish(process, PATIENCE if moment is None else moment)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
            ended = commands.finish(process, PATIENCE)
            if ended.code != 0:
                killed += 1
                if fault := _find_fault(ended, number, place):
                    break
                continue
        fault = ended.code and f'exit code {ended.code}: {ended.errors.strip()[-300:]}'
        fault = fault or results.differences(case.find(place), want)
        break
    fine = Outcome(label, 'same results' if killed else 'ended before the kill')
    if fault:
        detail = f'{killed} kills, the last after {moments[killed - 1]:.2f} s, in {place}: {fault}'
        return [fine] * (killed - 1) + [Outcome(label, FAULT, detail)]
    shutil.rmtree(place)
    return [fine] * max(killed, 1)


def _find_fault(ended: Ended, number: signal.Signals, place: Path) -> str | None:
    """What is wrong with the end of a command that was sent a signal; None if nothing is."""
    if ended.code == -number:
        return None
    if number == signal.SIGTERM and ended.code == 128 + number:
        for step in re.findall(r'SIGTERM received: saved step (\d+) of', ended.errors):
            if not [*place.rglob(f'checkpoints/{step}')]:
                return f'no checkpoint of step {step}, which was reported as saved'
        return None
    return f'exit code {ended.code} after {number.name}: {ended.errors.strip()[-300:]}'


def _unbroken(case: Case, place: Path) -> tuple[dict, float]:
    """The results of a command that nobody kills, and the seconds it takes once all is compiled."""
    for _ in range(2):
        shutil.rmtree(place, ignore_errors=True)
        started = time.monotonic()
        ended = commands.run(*case.words(place))
        if ended.code:
            raise RuntimeError(f'{case.words(place)} ends with code {ended.code}: {ended.errors}')
        seconds = time.monotonic() - started
    return case.find(place), seconds


def _train(recipe: str, folder: Path) -> Case:
    return Case(
        lambda place: ['train', f'--config={RECIPE}:{recipe}', f'--workdir={place}'], results.find
    )


def _compare(folder: Path) -> Case:
    recipes = [f'{RECIPE}:mpl', f'{RECIPE}:supervised']

    def words(place):
        return ['compare', '--seeds=1', '--jobs=2', f'--workdir={place}', '--configs', *recipes]

    def find(place):
        return {
            str(path.parent.relative_to(place)): results.find(path.parent)
            for path in place.glob('*/*/report.json')
        } | {'rows': results.read_table(place / 'compare.csv')}

    return Case(words, find)


def _predict(folder: Path) -> Case:
    trained = folder / 'trained'
    if not (trained / 'report.json').exists():
        commands.run(*_train('mpl', folder).words(trained))

    def words(place):
        place.mkdir(exist_ok=True)
        return ['predict', f'--workdir={trained}', '--split=train', f'--logits={place}/logits.npy']

    def find(place):
        return {'logits': results.hash_logits(place / 'logits.npy')}

    return Case(words, find)


CASES = {
    'train': functools.partial(_train, 'mpl'),
    'teacher': functools.partial(_train, 'taught'),
    'compare': _compare,
    'predict': _predict,
}
