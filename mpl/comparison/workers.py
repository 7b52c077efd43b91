"""Worker processes that train runs in parallel, each one run after another."""

import collections
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import connection
from pathlib import Path
from typing import Any, NamedTuple

from etils import epath

from mpl.parallel import processes
from mpl.run import command, loop, stages
from mpl.run import config as configs


class Job(NamedTuple):
    """A run to train, or another thing to do with a config and a folder."""

    name: str  # of its config
    seed: int
    config: dict
    folder: str  # its work directory; its output goes to <folder>.log
    train: Callable = stages.run  # (config, folder) -> report; a function of a module


class _Worker(NamedTuple):
    process: Any
    pipe: connection.Connection
    cores: list[int]


def run(jobs: list[Job], processes: int) -> Iterator[tuple[Job, dict | str]]:
    """Runs the jobs in order in several processes, each bound to its own cores.

    Yields:
      Each job when it ends, with its report, or with a sentence if it failed.

    Raises:
      loop.Stopped: SIGTERM or SIGINT was received, and all active runs are saved.
    """
    waiting, busy, free = collections.deque(jobs), {}, []
    with loop.Signals() as signals:
        try:
            free = [_start(cores) for cores in _split_cores(min(processes, len(jobs)))]
            terminated = False
            while busy or (waiting and not signals.caught):
                while waiting and free and not signals.caught:
                    worker, job = free.pop(0), waiting.popleft()
                    worker.pipe.send(job)
                    busy[worker.pipe] = worker, job
                if signals.caught and not terminated:
                    _terminate([worker for worker, _ in busy.values()])
                    terminated = True
                for pipe in connection.wait(busy, timeout=0.2):  # seconds; returns to check signals
                    worker, job = busy.pop(pipe)
                    result, worker = _receive(worker, job, again=not signals.caught)
                    free += [worker] if worker else []
                    if not (signals.caught and isinstance(result, str)):
                        yield job, result
        finally:
            _terminate([worker for worker, _ in busy.values()])
            for worker in [*free, *(worker for worker, _ in busy.values())]:
                worker.pipe.close()  # Ends a worker that waits for a job.
                worker.process.join()
        if signals.caught:
            raise loop.Stopped(signals.caught, f'{signals.caught.name} received.')


def default_count() -> int:
    """One per core on a CPU; one on accelerators, because a process uses all of them."""
    # In another process, because the process that counts devices acquires them.
    query = [sys.executable, '-c', 'import jax; print(jax.default_backend())']
    backend = subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    return processes.count_cores() if backend == 'cpu' else 1


def _terminate(workers):
    for worker in workers:
        worker.process.terminate()  # SIGTERM: the run saves and ends.


def _receive(worker, job, again):
    """The result of a job, and the worker for the next one; restarts a worker that died."""
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
    """The cores of each process; empty if the platform cannot bind processes to cores."""
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
    # The child inherits both. Cores are set before its imports, in which libraries count them.
    # Ctrl-C reaches every process of a terminal, but only the parent handles it.
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cores:
        all_cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores)
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
        if cores:
            os.sched_setaffinity(0, all_cores)
    theirs.close()
    return _Worker(process, ours, cores)


def _work(pipe: connection.Connection) -> None:
    """The loop of a worker: receives jobs, sends reports or error sentences."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Outside of `fit`.
    command.open_streams()
    command.cache()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError):
        while True:
            pipe.send(_run_job(pipe.recv()))


def _end_with_parent() -> None:
    """Ends this process when its parent is killed, so that the run can be started again."""
    multiprocessing.parent_process().join()
    os.kill(os.getpid(), signal.SIGKILL)


def _run_job(job: Job) -> dict | str:
    with open(f'{job.folder}.log', 'a', encoding='utf-8') as log:
        for descriptor in (1, 2):  # Of the process, to include the output of libraries.
            os.dup2(log.fileno(), descriptor)
    with contextlib.suppress(OSError):  # Resets the peak memory on Linux.
        Path('/proc/self/clear_refs').write_text('5', encoding='utf-8')
    try:
        return job.train(configs.complete(job.config), epath.Path(job.folder))
    except Exception as error:
        traceback.print_exc()
        sentence = (str(error).splitlines() or [''])[0]
        if isinstance(error, loop.Stopped):
            return sentence
        known = command.explain(error)
        return f'{type(error).__name__}: {sentence}' if known is None else known[0]
