"""Commands that run one after another within a time, and what they leave, for benchmarks/gpu_session.py."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from etils import epath

from benchmarks import step_time
from mpl.run import config as configs
from mpl.run import config_files, records

HELD_OUT = '--config.split.validation=1000'
GRACE = 20.0  # seconds from SIGTERM to SIGKILL
TABLE = GRACE + 5.0  # seconds kept for the last stage to stop, and for the table


class Stage(NamedTuple):
    """A command that has ended."""

    what: str
    command: str
    seconds: float
    code: int  # of its exit; negative: the signal that ended it


def run(what: str, words: list[str], seconds: float, log: Path) -> Stage:
    """Runs a command, its output to a file; SIGTERM after some seconds, SIGKILL 20 s later."""
    print(f'{what}: at most {max(0.0, seconds):.0f} s', file=sys.stderr)
    started = time.monotonic()
    process = start(words, log)
    end(process, seconds)
    return Stage(what, ' '.join(words), time.monotonic() - started, process.returncode)


def start(words: list[str], log: Path) -> subprocess.Popen:
    """Starts a command in a process group of its own."""
    with open(log, 'w', encoding='utf-8') as file:
        return subprocess.Popen(words, stdout=file, stderr=file, start_new_session=True)


def end(process: subprocess.Popen, seconds: float) -> None:
    """Waits for a command at most so long, then ends it and all that it has started."""
    try:
        process.wait(max(0.0, seconds))
    except subprocess.TimeoutExpired:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Session:
    """The time, the folder and the results of a session."""

    def __init__(self, paths: list[str], overrides: list[str], minutes: float, out: Path):
        self.begun = time.monotonic()
        self.deadline = self.begun + 60 * minutes - TABLE
        self.paths, self.overrides, self.out = paths, [HELD_OUT, *overrides], out
        self.names = [config_files.name(path) for path in paths]
        self.configs = [configs.load(path, self.overrides) for path in paths]
        self.results = {'machine': step_time.describe_machine(), 'minutes': minutes}
        self.results |= {'stages': [], 'rows': [], 'notes': []}

    def left(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def run(self, what: str, words: list[str], seconds: float) -> Stage:
        """A stage, at most so long and within the time left; written to the results."""
        log = self.out / f'{what.replace(" ", "_")}.log'
        stage = run(what, words, min(seconds, self.left()), log)
        self.results['stages'].append(stage._asdict())
        if stage.code:
            self.note(
                f'{what} ended with exit code {stage.code} after {stage.seconds:.0f} s; see {log}.'
            )
        self.write()
        return stage

    def note(self, sentence: str) -> None:
        """Adds a sentence to the results."""
        self.results['notes'].append(sentence)
        print(sentence, file=sys.stderr)

    def write(self) -> None:
        """Writes the results so far to session.json."""
        self.results['seconds'] = time.monotonic() - self.begun
        text = json.dumps(self.results, indent=2)
        records.write_utf8(epath.Path(self.out / 'session.json'), text + '\n')

    def module(self, name: str, path: str, *more: str) -> list[str]:
        """The command of a module on a config, with the overrides of the session."""
        return [sys.executable, '-m', name, f'--config={path}', *more, *self.overrides]
