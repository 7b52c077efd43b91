"""Runs side by side: worker processes that train one config after another."""

import collections
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath

from mpl.run import command, loop, stages
from mpl.run import config as configs


class Job(NamedTuple):
    """A run to do."""

    name: str  # of its config
    seed: int
    config: dict
    folder: str  # its work directory; what it prints goes to <folder>.log


class _Worker(NamedTuple):
    process: Any
    pipe: connection.Connection
    cores: list[int]


def run(jobs: list[Job], processes: int) -> Iterator[tuple[Job, dict | str]]:
    """Does the jobs in order, so many at a time, each process with its share of the cores.

    Yields:
      Each job as it ends, with its report, or with a sentence where it failed.

    Raises:
      loop.Stopped: SIGTERM or SIGINT came, and every run at work has saved and ended.
    """
    waiting, busy, free = collections.deque(jobs), {}, []
    with loop.Signals() as signals:
        try:
            free = [_start(cores) for cores in _split_cores(min(processes, len(jobs)))]
            asked = False
            while busy or (waiting and not signals.caught):
                while waiting and free and not signals.caught:
                    worker, job = free.pop(0), waiting.popleft()
                    worker.pipe.send(job)
                    busy[worker.pipe] = worker, job
                if signals.caught and not asked:
                    _ask_to_stop([worker for worker, _ in busy.values()])
                    asked = True
                for pipe in connection.wait(busy, timeout=0.2):  # Seconds, to see signals.
                    worker, job = busy.pop(pipe)
                    result, worker = _receive(worker, job, again=not signals.caught)
                    free += [worker] if worker else []
                    if not (signals.caught and isinstance(result, str)):
                        yield job, result
        finally:
            _ask_to_stop([worker for worker, _ in busy.values()])
            for worker in [*free, *(worker for worker, _ in busy.values())]:
                worker.pipe.close()  # The end of a worker that waits for a job.
                worker.process.join()
        if signals.caught:
            raise loop.Stopped(signals.caught, f'{signals.caught.name} received.')


def default_count() -> int:
    """One per core on a CPU; one on accelerators, where a process takes all there are."""
    # Asked in another process, because the one that asks takes them.
    asked = [sys.executable, '-c', 'import jax; print(jax.default_backend())']
    backend = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    count = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return count if backend == 'cpu' else 1


def _ask_to_stop(workers):
    for worker in workers:
        worker.process.terminate()  # SIGTERM: the run saves.


def _receive(worker, job, again):
    """What a worker says of its job, and the worker that takes the next one."""
    try:
        return worker.pipe.recv(), worker
    except (EOFError, OSError):
        worker.process.join()
        code = worker.process.exitcode
        return (
            f'its process ended with exit code {code}; see {job.folder}.log',
            _start(worker.cores) if again else None,
        )


def _split_cores(processes: int) -> list[list[int]]:
    """The cores of each process; empty where the platform can not bind to cores."""
    if not hasattr(os, 'sched_setaffinity'):
        return [[]] * processes
    cores = sorted(os.sched_getaffinity(0))
    count = len(cores)
    return [
        cores[i * count // processes : (i + 1) * count // processes] or [cores[i % count]]
        for i in range(processes)
    ]


def _start(cores: list[int]) -> _Worker:
    context = multiprocessing.get_context('spawn')
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(theirs,), daemon=True)
    # Both are inherited. Cores first, because libraries count them when they are imported;
    # and Ctrl-C goes to every process of a terminal, but it is for the parent to pass on.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cores:
        everywhere = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
        if cores:
            os.sched_setaffinity(0, everywhere)
    theirs.close()
    return _Worker(process, ours, cores)


def _work(pipe: connection.Connection) -> None:
    """A worker's life: jobs come, reports or sentences go."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Outside of `fit`.
    command.open_streams()
    command.cache()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(_do(pipe.recv()))


def _end_with_parent() -> None:
    """Ends this process as soon as its parent is killed, which then can start the run again."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGKILL)


def _do(job: Job) -> dict | str:
    with open(f'{job.folder}.log', 'a', encoding='utf-8') as log:
        for printed in (1, 2):  # Of the process, so that what libraries print goes there too.
            os.dup2(log.fileno(), printed)
    with contextlib.suppress(OSError):  # Linux forgets the peak of the runs before.
        Path('/proc/self/clear_refs').write_text('5', encoding='utf-8')
    try:
        return stages.run(configs.complete(job.config), epath.Path(job.folder))
    except Exception as error:
        traceback.print_exc()
        sentence = (str(error).splitlines() or [''])[0]
        if isinstance(error, loop.Stopped):
            return sentence
        known = command.explain(error)
        return f'{type(error).__name__}: {sentence}' if known is None else known[0]
