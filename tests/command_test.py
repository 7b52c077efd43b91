"""Commands in other people's environments: closed streams, no home, other encodings, full disks."""

import ast
import asyncio
import gc
import logging
import os
import pathlib
import subprocess
import sys

import pytest

from mpl.run import command

START = """
import errno, os, sys
from mpl.run import command
"""


def run(body, tmp_path, shell='{}', **environment):
    """The outcome of a command whose function has this body, started by a line of bash."""
    script = tmp_path / 'script.py'
    lines = ''.join(f'    {line}\n' for line in body.splitlines())
    script.write_text(f'{START}\ndef main():\n{lines}\ncommand.main(main)\n', encoding='utf-8')
    given = {k: v for k, v in os.environ.items() if k != 'PYTHONIOENCODING'}
    given |= {'PYTHONPATH': os.getcwd()} | environment
    return subprocess.run(
        ['bash', '-o', 'pipefail', '-c', shell.format(f'{sys.executable} {script}')],
        env={k: v for k, v in given.items() if v is not None},
        cwd=tmp_path,
        capture_output=True,
        encoding='utf-8',
        timeout=120,
    )


WORK = """
from absl import logging
logging.warning('a warning')
for line in range(50_000):
    print('a line of output', line)
    print('and one of the log', file=sys.stderr)
with open('done', 'w', encoding='utf-8') as file:
    assert file.fileno() > 2, 'what libraries print would lie in the file'
"""


@pytest.mark.parametrize('shell', ['{} | head -1', '{} >&-', '{} 2>&-', '{} <&- >&- 2>&-', '{} 2>/dev/full', '{} 2>&1 | head -1'])  # fmt: skip
def test_work_is_done_where_nobody_listens(shell, tmp_path):
    done = run(WORK, tmp_path, shell)
    assert done.returncode == 0 and (tmp_path / 'done').exists(), done
    assert 'Traceback' not in done.stderr and 'Broken pipe' not in done.stderr


def test_what_stdout_can_not_keep_is_an_error(tmp_path):
    done = run("print('the result')", tmp_path, '{} >/dev/full')
    assert done.returncode == 1
    assert done.stderr == (
        'error: [Errno 28] No space left on device; free space, and the same command resumes.\n'
    )


def test_characters_that_the_encoding_lacks_are_escaped(tmp_path):
    done = run(
        "print('97.1 ± 0.2', 'caf\\udce9.png')",
        tmp_path,
        PYTHONIOENCODING='ascii',
        LC_ALL='C',
        PYTHONCOERCECLOCALE='0',
        PYTHONUTF8='0',
    )
    assert (done.returncode, done.stdout) == (0, '97.1 \\xb1 0.2 caf\\udce9.png\n')


NOBODY = """
import jax
print(jax.config.jax_compilation_cache_dir)
"""


@pytest.mark.parametrize('home', [None, '/proc/nowhere'])
def test_without_a_home_that_can_be_written_programs_are_not_kept(home, tmp_path):
    """As in a container whose user is a number."""
    (tmp_path / 'sitecustomize.py').write_text(
        'import pwd\ndef nobody(_): raise KeyError\npwd.getpwuid = nobody\n', encoding='utf-8'
    )
    done = run(
        NOBODY,
        tmp_path,
        HOME=home,
        JAX_COMPILATION_CACHE_DIR=None,
        PYTHONPATH=f'{tmp_path}:{os.getcwd()}',
    )
    assert (done.returncode, done.stdout) == (0, 'None\n'), done.stderr
    assert 'Compiled programs are not cached' in done.stderr
    assert not (tmp_path / '~').exists()


@pytest.mark.parametrize(
    'error, code',
    [
        ("OSError(errno.ENOSPC, 'No space left on device')", 1),
        ("OSError(errno.EDQUOT, 'Disk quota exceeded')", 1),
        ("PermissionError(errno.EACCES, 'Permission denied', 'x')", 2),
    ],
)
def test_errors_of_the_system_are_one_sentence(error, code, tmp_path):
    done = run(f'raise {error}', tmp_path)
    assert done.returncode == code and done.stderr.startswith('error: [Errno ')
    assert len(done.stderr.splitlines()) == 1
    assert ('the same command resumes' in done.stderr) == (code == 1)


ROOT = pathlib.Path(__file__).parent.parent
FILES = [path for part in ('mpl', 'benchmarks') for path in sorted((ROOT / part).rglob('*.py'))]


def texts(path):
    """The calls in a file that read or write text, and whether each names its encoding."""
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if not isinstance(node, ast.Call):
            continue
        called = getattr(node.func, 'attr', getattr(node.func, 'id', None))
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        is_open = called == 'open' and not any('b' in str(mode) for mode in modes[-1:])
        is_file = is_open and getattr(getattr(node.func, 'value', None), 'id', None) not in (
            'os',
            'Image',
        )
        if called in ('read_text', 'write_text') or is_file:
            yield node.lineno, any(word.arg in ('encoding', None) for word in node.keywords)


def test_text_is_utf8_whatever_the_locale():
    found = {(path, line): named for path in FILES for line, named in texts(path)}
    assert len(found) > 10
    assert not [place for place, named in found.items() if not named]


@pytest.mark.parametrize(
    'module, is_printed', [('orbax/serialization.py', False), ('ours.py', True)]
)
def test_writes_that_fail_after_the_first_are_not_logged(module, is_printed, caplog, monkeypatch):
    """asyncio logs them from its garbage collection: the first error has been raised by then."""

    async def run():
        failing = {}
        exec(compile('async def write(): raise ValueError("disk")', module, 'exec'), failing)
        task = asyncio.create_task(failing['write']())
        await asyncio.sleep(0)
        del task

    monkeypatch.setattr(sys, 'unraisablehook', sys.unraisablehook)
    monkeypatch.setattr(logging.getLogger('asyncio'), 'filters', [])
    command.silence_later_failures()
    asyncio.run(run())
    gc.collect()
    assert ('exception was never retrieved' in caplog.text) == is_printed


@pytest.mark.parametrize(
    'module, is_printed', [('orbax/serialization.py', False), ('ours.py', True)]
)
def test_reads_that_fail_after_the_first_are_not_printed(module, is_printed, monkeypatch):
    """Their coroutines end with an error when they are collected, which Python prints."""
    printed, made = [], {}
    monkeypatch.setattr(sys, 'unraisablehook', lambda unraisable: printed.append(unraisable))
    monkeypatch.setattr(logging.getLogger('asyncio'), 'filters', [])
    command.silence_later_failures()
    exec(compile('class Read:\n def __del__(self): raise OSError("x")', module, 'exec'), made)
    made['Read']()
    gc.collect()
    assert bool(printed) == is_printed
