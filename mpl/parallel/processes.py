"""Several processes that train one run: how they find each other, who writes, how they end."""

import argparse
import contextlib
import os
import sys
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

PATIENCE = 60  # seconds without a sign of life, after which a process counts as lost


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
    """Connects this process to the others, before anything else is asked of jax.

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
    try:
        jax.distributed.initialize(
            given.coordinator,
            given.num_processes,
            given.process_id,
            heartbeat_timeout_seconds=PATIENCE,
        )
    except Exception as error:  # Of sockets, clusters and services, of many kinds.
        raise ValueError(
            f'The processes did not find each other ({str(error).strip().splitlines()[0]}); see '
            'launch/README.md.'
        ) from error


def leads() -> bool:
    """Whether this process is the one that writes and speaks."""
    return jax.process_index() == 0


def wait(place: str) -> None:
    """Until every process is at this place of the program."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(place)


def to_stop(turn: int) -> bool:
    """Whether a signal has come to any process and all stop after this turn of the loop.

    Args:
      turn: counted from 0, one by one, alike in all processes.
    """
    return jax.process_count() > 1 and multihost_utils.reached_preemption_sync_point(turn)


@contextlib.contextmanager
def together() -> Iterator[None]:
    """Within it, a process that loses another ends at once, with a sentence and exit code 1."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1:
            raise
        print(
            f'error: process {jax.process_index()} of {jax.process_count()} can not go on with the '
            f'others ({str(error).strip().splitlines()[0][:200]}). Checkpoints are kept; start '
            'all processes again, and the run goes on.',
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)  # The usual way out waits for the others.


def say(line: str) -> None:
    """Prints a line on stderr, above a progress bar, in one process for all."""
    if leads():
        tqdm.write(line, file=sys.stderr)
