"""Runs on a disk that gets full at a random moment, and has room again afterwards."""

import contextlib
import functools
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.faults import commands, results
from benchmarks.faults.commands import RECIPE
from benchmarks.faults.trials import FAULT, Outcome, repeat

SIZE = 48 << 20  # bytes of the file system, of which a run takes some


class Place(NamedTuple):
    """A folder that has room for so many bytes while a command runs."""

    folder: Path
    limit: Callable[[int], contextlib.AbstractContextManager]  # gives what to do with its process
    kind: str


def campaign(folder: Path, fills: int, seed: int) -> list[Outcome]:
    """Lets a run end for want of room, at random moments, and go on once there is room.

    The room is drawn between nothing and what the run takes. The command has to end with a
    sentence, and the same command with the results of an unbroken run; where a lack of room
    does not end it, its results have to be complete too.
    """
    folder.mkdir(parents=True, exist_ok=True)
    want = _unbroken(folder / 'unbroken')
    taken = sum(p.stat().st_size for p in (folder / 'unbroken').rglob('*') if p.is_file())
    largest = max(p.stat().st_size for p in (folder / 'unbroken').rglob('*') if p.is_file())
    with mounted(folder) as place:

        def trial(number):
            random = np.random.default_rng([seed, number])
            room = random.integers(largest if place.kind == 'ulimit -f' else taken)
            return [fill(place, int(room), want)]

        return repeat(folder, place.kind, fills, trial)


def fill(place: Place, room: int, want: dict) -> Outcome:
    """One run that has so many bytes, and then more."""
    run, case = place.folder / 'run', f'train, {place.kind}'
    shutil.rmtree(run, ignore_errors=True)
    words = ['train', f'--config={RECIPE}:mpl', f'--workdir={run}', *STEPS]
    with place.limit(room) as limit:
        process = commands.start(*words)
        limit(process.pid)
        ended = commands.finish(process)
    fault, kind = commands.find_fault(ended), 'went on with room' if ended.code else 'ended anyway'
    if not fault:
        again = commands.run(*words)
        fault = commands.find_fault(again)
        if again.code:
            fault = fault or f'with room again: {again.errors.strip()[-300:]}'
    fault = fault or results.differences(results.find(run), want)
    return Outcome(case, FAULT if fault else kind, f'{room} bytes: {fault}' if fault else '')


STEPS = ['--config.steps=100']


@contextlib.contextmanager
def mounted(folder: Path) -> Iterator[Place]:
    """A small file system: an image mounted by loop, else a tmpfs, else a limit on each file."""
    disk = folder / 'disk'
    disk.mkdir(exist_ok=True)
    image = folder / 'disk.img'
    with image.open('wb') as file:
        file.truncate(SIZE)
    ways = {
        'ext4 by loop': [
            ['mkfs.ext4', '-q', '-F', '-m', '0', str(image)],
            ['mount', '-o', 'loop', str(image), str(disk)],
        ],
        'tmpfs': [['mount', '-t', 'tmpfs', '-o', f'size={SIZE}', 'tmpfs', str(disk)]],
    }
    for kind, words in ways.items():
        if all(_succeeds(command) for command in words):
            try:
                yield Place(disk, functools.partial(_ballast, disk / 'ballast'), kind)
            finally:
                subprocess.run(['umount', str(disk)], check=True)
            return
    yield Place(disk, _file_limit, 'ulimit -f')


def _succeeds(command: list[str]) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return subprocess.run(command, capture_output=True).returncode == 0
    return False


@contextlib.contextmanager
def _ballast(path: Path, room: int) -> Iterator[Callable[[int], None]]:
    """A file that leaves so many bytes of a file system; removed at the end."""
    free = shutil.disk_usage(path.parent).free
    with path.open('wb') as file:
        os.posix_fallocate(file.fileno(), 0, max(1, free - room))
    try:
        yield lambda pid: None
    finally:
        path.unlink()


@contextlib.contextmanager
def _file_limit(room: int) -> Iterator[Callable[[int], None]]:
    """No file of a process may be larger than that; Python ignores the signal, and gets an error."""
    yield lambda pid: resource.prlimit(pid, resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))


def _unbroken(place: Path) -> dict:
    ended = commands.run('train', f'--config={RECIPE}:mpl', f'--workdir={place}', *STEPS)
    if ended.code:
        raise RuntimeError(f'The run ends with code {ended.code}: {ended.errors}')
    return results.find(place)
