"""Two processes that train one run, of which one is killed at a random moment."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import numpy as np

from benchmarks.faults import commands, results
from benchmarks.faults.commands import RECIPE, Ended
from benchmarks.faults.trials import FAULT, Outcome, repeat
from mpl.parallel.processes import MEETING, PATIENCE

GRACE = 30  # seconds beyond PATIENCE, for a busy machine


def campaign(folder: Path, losses: int, seed: int) -> list[Outcome]:
    """Kills one of two processes again and again, as often as `losses`, until the run has ended.

    The other has to end by itself within a minute; both, started again, go on, and the run has to
    end with the results of two processes that nobody kills.
    """
    want, seconds = _unbroken(folder / 'unbroken')

    def trial(done):
        random = np.random.default_rng([seed, done])
        return lose(folder / f'run_{done}', losses - done, seconds, random, want)

    return repeat(folder, 'processes', losses, trial)


def lose(
    place: Path, losses: int, seconds: float, random: np.random.Generator, want: dict
) -> list[Outcome]:
    """The outcomes of one run, one for each time that a process of it was lost."""
    shutil.rmtree(place, ignore_errors=True)
    outcomes = []
    while True:
        both = begin(place)
        if len(outcomes) < losses:
            which = int(random.integers(2))
            time.sleep(random.uniform(0, seconds))
            if both[which].poll() is None:
                outcomes.append(_kill(both, which))
                if outcomes[-1].kind == FAULT:
                    return outcomes
                continue
        ended = [commands.finish(process) for process in both]
        fault = _find_end_fault(ended) or results.differences(results.find(place), want)
        if fault:
            outcomes.append(Outcome('both, to the end', FAULT, f'in {place}: {fault}'))
        else:
            outcomes = outcomes or [Outcome('none killed', 'same results')]
            shutil.rmtree(place)
        return outcomes


def begin(place: Path) -> list[subprocess.Popen]:
    """Both processes of a run in a folder."""
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = free.getsockname()[1]
    return [
        commands.start(
            *('train', f'--config={RECIPE}:mpl', f'--workdir={place}', '--config.finetune.steps=0'),
            *(f'--coordinator=localhost:{port}', '--num_processes=2', f'--process_id={number}'),
        )
        for number in range(2)
    ]


def _kill(both: list[subprocess.Popen], which: int) -> Outcome:
    """Kills one of them and waits for the other, which may end by a signal of jax's own."""
    both[which].send_signal(signal.SIGKILL)
    started, case = time.monotonic(), f'process {which} killed'
    try:
        ended = commands.finish(both[1 - which], MEETING + GRACE)
    except subprocess.TimeoutExpired:
        both[1 - which].kill()
        commands.finish(both[1 - which])
        return Outcome(case, FAULT, f'the other is there after {MEETING + GRACE} s')
    finally:
        commands.finish(both[which])
    if ended.code == 0:
        return Outcome(case, FAULT, 'the other ends with code 0')
    spent, patience = time.monotonic() - started, PATIENCE + GRACE
    if 'did not find each other' in ended.errors:
        return Outcome(f'{case} before they met', f'other ended in {MEETING + GRACE} s')
    if spent > patience:
        return Outcome(case, FAULT, f'the other ended after {spent:.0f} s')
    return Outcome(case, f'other ended in {10 if spent < 10 else patience} s')


def _find_end_fault(ended: list[Ended]) -> str | None:
    for one in ended:
        if one.code:
            return f'exit code {one.code}: {one.errors.strip()[-300:]}'
    return None


def _unbroken(place: Path) -> tuple[dict, float]:
    """The results of a run that nobody kills, and its seconds once all is compiled."""
    for _ in range(2):
        started = time.monotonic()
        shutil.rmtree(place, ignore_errors=True)
        if fault := _find_end_fault([commands.finish(process) for process in begin(place)]):
            raise RuntimeError(f'Nobody was killed: {fault}')
        seconds = time.monotonic() - started
    return results.find(place), seconds
