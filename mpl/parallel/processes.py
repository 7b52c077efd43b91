"""Several processes in one run: initialization, the primary process, synchronized exit."""

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

PATIENCE = 60  # seconds without a heartbeat after which a process counts as lost
MEETING = 300  # seconds for which a process waits for the others at the start


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments for a command that runs on several hosts, the same on each but for --process_id."""
    group = parser.add_argument_group('several processes, one on each host')
    group.add_argument(
        '--distributed',
        action='store_true',
        help='on a TPU pod and under SLURM, where the processes find each other by themselves',
    )
    group.add_argument('--coordinator', help='elsewhere: host:port of process 0')
    group.add_argument('--num_processes', type=int, help='how many there are')
    group.add_argument('--process_id', type=int, help='which of them this is, from 0')


def join(given: argparse.Namespace) -> None:
    """Connects this process to the others; must come before any other use of jax.

    Ends the process with a message and code 2 if the others have not come after MEETING seconds.

    Raises:
      ValueError: the arguments are not complete, or the others are not found.
    """
    named = {
        name: getattr(given, name)
        for name in ('coordinator', 'num_processes', 'process_id')
        if getattr(given, name) is not None
    }
    if not named and not given.distributed:
        return
    if named and len(named) < 3:
        raise ValueError(
            'Give all of --coordinator, --num_processes and --process_id, or --distributed alone; '
            f'given: {", ".join(f"--{name}" for name in named)}.'
        )
    if named and not 0 <= given.process_id < given.num_processes:
        raise ValueError(
            f'--process_id is {given.process_id}; give a number from 0 to {given.num_processes - 1}.'
        )
    # jax would abort with a stack trace, so it gets more time than the timer.
    timer = threading.Timer(MEETING, _give_up)
    timer.start()
    try:
        jax.distributed.initialize(
            given.coordinator,
            given.num_processes,
            given.process_id,
            initialization_timeout=2 * MEETING,
            heartbeat_timeout_seconds=PATIENCE,
        )
    except Exception as error:  # Of sockets, clusters and services, of many kinds.
        raise ValueError(
            f'The processes did not find each other ({str(error).strip().splitlines()[0]}); see '
            'launch/README.md.'
        ) from error
    finally:
        timer.cancel()


def _give_up():
    print(
        f'error: The processes did not find each other within {MEETING} s. Start all of them with the '
        'same arguments, on hosts that reach the coordinator; see launch/README.md.',
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)  # The main thread is inside jax.


def is_primary() -> bool:
    """Whether this process is the primary one, which writes files and prints."""
    return jax.process_index() == 0


def wait(place: str) -> None:
    """Waits until every process has reached this place of the program."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def should_stop(turn: int) -> bool:
    """Whether any process has received a signal, so that all stop after this iteration of the loop.

    Args:
      turn: the iteration, counted from 0, the same in all processes.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(turn)


@contextlib.contextmanager
def exit_together() -> Iterator[None]:
    """A context in which a process that loses another exits at once, with a message and code 1."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        print(
            f'error: process {jax.process_index()} of {jax.process_count()} cannot go on with the '
            f'others ({str(error).strip().splitlines()[0][:200]}). Checkpoints are kept; start '
            'all processes again to continue the run.',
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # sys.exit waits for the other processes.


def count_cores() -> int:
    """The number of processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()


def print_line(line: str) -> None:
    """Prints a line on stderr, above a progress bar, in the primary process."""
    if is_primary():
        tqdm.write(line, file=sys.stderr)
