"""Shared by all commands: arguments, log lines, and errors as one sentence."""

import argparse
import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from logging import getLogger
from pathlib import Path
from typing import TextIO

import jax
from absl import logging

from mpl.run import config_files, paths

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser whose help is the module's docstring."""
    return argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )


def parse(of: argparse.ArgumentParser) -> tuple[argparse.Namespace, list[str]]:
    """The arguments, and the overrides of the config, such as --config.steps=2000.

    Raises:
      ValueError: an unknown argument.
      SystemExit: --config=FILE:help, which needs no other argument; the help of the file was printed.
    """
    for argument in sys.argv[1:]:
        file = argument.removeprefix('--config=')
        if file.endswith('.py:help'):
            config_files.read(file)
    given, rest = of.parse_known_args()
    for argument in rest:
        if not argument.startswith('--config.') or '=' not in argument:
            raise ValueError(
                f'The argument {argument!r} is unknown; see --help. '
                'Values of the config are given as --config.steps=2000.'
            )
    return given, rest


def path(text: str) -> str:
    """The type of an argument that is a path; see paths.parse."""
    return _argument(paths.parse, text)


def local_path(text: str) -> str:
    """The type of an argument that is a path on a disk; see paths.parse_local."""
    return _argument(paths.parse_local, text)


def _argument(parse, text):
    try:
        return parse(text, 'The path')
    except ValueError as error:  # argparse would drop the message of a ValueError.
        raise argparse.ArgumentTypeError(str(error)) from error


def parse_shard(text: str) -> tuple[int, int]:
    """(i, n) of --shard=i/n, the i-th of n shards, from 0.

    Raises:
      ValueError: it is no such text.
    """
    index, _, count = text.partition('/')
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ValueError(f'--shard is {text!r}; give 0/4, 1/4, 2/4 or 3/4 for four shards.')
    return int(index), int(count)


def main(command: Callable[[], None]) -> None:
    """Runs a command. Errors are one sentence; exit code 2 for refused input, 1 for failures.

    Compiled programs are cached in JAX_COMPILATION_CACHE_DIR, by default ~/.cache/mpl; those that took
    JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS to compile, by default half a second.
    """
    open_streams()
    silence_later_failures()
    logging.set_verbosity(logging.WARNING)
    cache()
    try:
        command()
        sys.stdout.flush()
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        sentence, code = known
        print(f'error: {sentence}', file=sys.stderr)
        sys.exit(code)


def explain(error: Exception) -> tuple[str, int] | None:
    """The sentence and exit code of an expected error; None for a bug."""
    if isinstance(error, OSError):
        if error.errno in NO_SPACE:
            return f'{error}; free space, and the same command resumes.', 1
        return str(error), 2
    ours = (ValueError, FloatingPointError, RuntimeError)
    if isinstance(error, ours) and _is_ours(error):
        return str(error), 2 if isinstance(error, ValueError) else 1
    return None


def _is_ours(error: Exception) -> bool:
    """Whether a `raise` statement of this package raised the error, not a library or a bug."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = Path(__file__).parents[1] in Path(frames[-1].filename).parents
    return inside and frames[-1].line.startswith('raise ')


def silence_later_failures() -> None:
    """Drops the tracebacks of reads and writes that fail after the first one, as on a full disk.

    Orbax raises the first error and closes its event loop. The tasks of the others are then logged
    by asyncio or end when they are collected, and what tensorstore still has to report to the loop
    is printed from a thread of its own.
    """
    hook = sys.unraisablehook

    def print_others(unraisable):
        error = unraisable.exc_value
        is_closed = isinstance(error, RuntimeError) and str(error) == 'Event loop is closed'
        if not is_closed and not _is_in_orbax(unraisable.exc_traceback):
            hook(unraisable)

    sys.unraisablehook = print_others
    getLogger('asyncio').addFilter(_is_no_later_failure)


def _is_no_later_failure(record):
    """False for the exception of a write of Orbax that nobody has waited for."""
    if not record.exc_info or 'exception was never retrieved' not in record.getMessage():
        return True
    return not _is_in_orbax(record.exc_info[2])


def _is_in_orbax(trace):
    return any('orbax' in frame.filename for frame in traceback.extract_tb(trace))


def open_streams() -> None:
    """Replaces stdout and stderr so that printing never ends a run.

    Closed streams become /dev/null and characters outside the encoding are escaped. After a broken
    pipe (`| head -1`), or any write error of stderr, further output is dropped.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # Else the next opened file gets this descriptor.
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, descriptor)
            if null != descriptor:
                os.close(null)
    sys.stdout = _Stream(sys.stdout or open(os.devnull, 'w', encoding='utf-8'), BrokenPipeError)
    sys.stderr = _Stream(sys.stderr or open(os.devnull, 'w', encoding='utf-8'), OSError)


class _Stream:
    """A text stream that drops all output after an error of type `dropped`."""

    def __init__(self, stream: TextIO, dropped: type[OSError]):
        stream.reconfigure(errors='backslashreplace')
        self._stream, self._dropped = stream, dropped

    def __getattr__(self, name):
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except self._dropped:
            self._drop()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except self._dropped:
            self._drop()

    def _drop(self):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)


def cache() -> None:
    """Enables the persistent compilation cache if its folder can be written."""
    folder = os.environ.get('JAX_COMPILATION_CACHE_DIR', '~/.cache/mpl')
    try:
        folder = paths.parse(folder, 'JAX_COMPILATION_CACHE_DIR')
        if not paths.is_remote(folder):
            os.makedirs(folder, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except (ValueError, OSError) as error:
        logging.warning(
            'Compiled programs are not cached in %s (%s), so every start compiles again; set '
            'JAX_COMPILATION_CACHE_DIR to a folder that can be written.',
            folder,
            error,
        )
        folder = None
    jax.config.update('jax_compilation_cache_dir', folder)
    if 'JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS' not in os.environ:
        jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.5)
