"""Commands of mpl as a campaign starts them, and what came of them."""

import contextlib
import importlib
import io
import logging
import os
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from mpl.run import command

ROOT = Path(__file__).parents[2]
RECIPE = 'benchmarks/faults/recipe.py'


class Ended(NamedTuple):
    """The end of a command."""

    code: int
    output: str
    errors: str  # with the traceback, where there is one


def start(module: str, *arguments: str) -> subprocess.Popen:
    """`python -m mpl.<module>` as a process of its own, on one CPU device."""
    return subprocess.Popen(
        [sys.executable, '-m', f'mpl.{module}', *map(str, arguments)],
        env=os.environ | {'JAX_PLATFORMS': 'cpu', 'XLA_FLAGS': ''},
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors='backslashreplace',
    )


def finish(process: subprocess.Popen, seconds: float | None = None) -> Ended:
    """Waits for a process; raises subprocess.TimeoutExpired where it takes longer."""
    output, errors = process.communicate(timeout=seconds)
    return Ended(process.returncode, output, errors)


def run(module: str, *arguments: str) -> Ended:
    """A command from its start to its end."""
    return finish(start(module, *arguments))


def call(function: Callable[[], None], *arguments: str) -> Ended:
    """`main` of a command in this process, with its errors as the command reports them."""
    output, errors = (io.TextIOWrapper(io.BytesIO(), 'utf-8', 'backslashreplace') for _ in range(2))
    code = 0
    warnings = logging.StreamHandler(errors)  # Else they go to the stderr of the first command.
    logging.getLogger().addHandler(warnings)
    with (
        mock.patch.object(sys, 'argv', ['mpl', *map(str, arguments)]),
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        try:
            command.main(function)
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            code = 1
            traceback.print_exc()
        finally:
            logging.getLogger().removeHandler(warnings)
    for stream in (output, errors):
        stream.seek(0)  # Which flushes.
    return Ended(code, output.read(), errors.read())


def call_module(module: str, *arguments: str) -> Ended:
    """`python -m mpl.<module>` in this process."""
    return call(importlib.import_module(f'mpl.{module}').main, *arguments)


def find_fault(ended: Ended) -> str | None:
    """What is wrong with the end of a command that may have been refused; None if nothing is.

    It ends with code 0, or with another one and a sentence; a traceback is a fault either way.
    """
    _, traced, frames = ended.errors.rpartition('Traceback (most recent call last):\n')
    if traced:
        ends = [line for line in frames.splitlines() if line and not line.startswith(' ')]
        return f'traceback: {ends[0][:300] if ends else ""}'
    if ended.code and not re.search(r'^(error: \S|usage: )', ended.errors, re.MULTILINE):
        return f'exit code {ended.code} without a sentence: {ended.errors.strip()[-300:]!r}'
    return None
