"""Steps of training beside PyTorch: checked to be the same, and timed by turns in two processes.

Each side is a module with `check`, some steps from known weights, and `make_run`, the step to time. A
process imports this file too, and then the library of its side alone, which is what its memory is measured
with: so no library of either side is imported here.
"""

import concurrent.futures
import importlib
import multiprocessing
import os
import re
import time
from pathlib import Path

import numpy as np
from tabulate import tabulate

TOLERANCE = 1e-4  # of losses, relative where above 1; and of arrays as a share of their change
SIDES = ('torch', 'jax')  # as of `measure` and `show`


class Process:
    """A process of its own, on some cores, or on any for (): with Process(cores) as call."""

    def __init__(self, cores: tuple[int, ...]):
        self.executor = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context('spawn'), enter, (cores,)
        )

    def __enter__(self):
        return lambda function, *args: self.executor.submit(function, *args).result()

    def __exit__(self, *_):
        self.executor.shutdown()


def enter(cores: tuple[int, ...]) -> None:
    """Before a library starts: both take a thread for each core they may run on."""
    os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
    if cores:
        os.sched_setaffinity(0, cores)


def check(modules: dict[str, str], args: tuple, steps: int) -> dict[str, float]:
    """How far both sides are apart after some steps from the same weights; see `compare`.

    Args:
      modules: of each of SIDES.
      args: of their `check`; after them ours takes the steps, and torch's what ours returned.
      steps: to take.
    """
    with Process(()) as call:
        ours = call(_check, modules['jax'], *args, steps)
    with Process(()) as call:
        return compare(ours, call(_check, modules['torch'], *args, ours))


def _check(module, *args):
    return importlib.import_module(module).check(*args)


def start(module: str, *args) -> dict:
    """Builds a side's step by `make_run`, and warms it up; `time_steps` and `read_memory` go on from there."""
    global _run, _peak_memory
    begun = time.perf_counter()
    _run, device, _peak_memory = importlib.import_module(module).make_run(*args)
    _run()
    Path('/proc/self/clear_refs').write_text(
        '5', encoding='utf-8'
    )  # The peak of resident memory starts anew.
    return {'device': device, 'start_seconds': time.perf_counter() - begun}


def time_steps(steps: int) -> tuple[float, float]:
    """Milliseconds per step, by the clock and of processor time.

    Of a second call, since a process that has waited for its turn has to get its memory and caches anew.
    """
    _run()
    wall, busy = time.perf_counter(), time.process_time()
    _run()
    return (
        1000 * (time.perf_counter() - wall) / steps,
        1000 * (time.process_time() - busy) / steps,
    )


def read_memory() -> int:
    """Peak bytes: of the GPU, or over the timed steps of the whole process with its libraries."""
    memory = _peak_memory()
    if memory is not None:
        return memory
    return (
        int(
            re.search(r'VmHWM:\s+(\d+) kB', Path('/proc/self/status').read_text(encoding='utf-8'))[
                1
            ]
        )
        * 1024
    )


def measure(
    modules: dict[str, str],
    args: tuple,
    steps: int,
    images: int,
    rounds: int,
    cores: tuple[int, ...],
) -> dict:
    """Both sides by turns, each in a process of its own.

    Args:
      modules: of each of SIDES.
      args: of their `make_run`.
      steps: that a run takes.
      images: of a step.
      rounds: turns of each side.
      cores: to run on, () for all.
    """
    with Process(cores) as torch, Process(cores) as jax:
        calls = {'torch': torch, 'jax': jax}
        sides = {side: call(start, modules[side], *args) for side, call in calls.items()}
        times = {side: [] for side in SIDES}
        for turn in range(rounds):
            for side in SIDES[:: 1 if turn % 2 else -1]:
                times[side].append(calls[side](time_steps, steps))
        memory = {side: call(read_memory) for side, call in calls.items()}
    times = {side: np.array(pairs).T for side, pairs in times.items()}
    for side, (wall, busy) in times.items():
        sides[side] |= {
            'ms': quartiles(wall),
            'processor_ms': quartiles(busy),
            'images_per_second': 1000 * images / np.median(wall),
            'peak_bytes': memory[side],
        }
    ratio, processor_ratio = map(quartiles, times['jax'] / times['torch'])
    return {'load': os.getloadavg()[0], 'ratio': ratio, 'processor_ratio': processor_ratio} | sides


def show(names: list[str], rows: list[tuple[list, dict]]) -> str:
    """A table: of each row the values of `names`, and the sides as `measure` returns them."""

    def text(value, form):
        return f'{value["median"]:{form}} ({value["low"]:{form}}..{value["high"]:{form}})'

    headers = [
        *names, 'side', 'device', 'ms/step', 'processor ms', 'images/s', 'peak MiB', 'jax/torch',
        'of processor time', 'load',
    ]  # fmt: skip
    lines = []
    for values, row in rows:
        for side in SIDES:
            line = [
                *values,
                side,
                row[side]['device'],
                text(row[side]['ms'], ',.0f'),
                text(row[side]['processor_ms'], ',.0f'),
                f'{row[side]["images_per_second"]:,.1f}',
                f'{row[side]["peak_bytes"] / 2**20:,.0f}',
            ]
            if side == 'jax':
                line += [
                    text(row['ratio'], '.2f'),
                    text(row['processor_ratio'], '.2f'),
                    f'{row["load"]:.1f}',
                ]
            lines.append(line)
    return tabulate(lines, headers, disable_numparse=True)


def describe(cores: tuple[int, ...], dtype: str, rounds: int, steps: int) -> str:
    """What the numbers of `show` are."""
    return (
        f'{len(cores) or "all"} cores, {dtype}; median (quartiles) over {rounds} turns of {steps} steps; '
        'ratios are of neighboring turns; peak MiB on a CPU is that of the whole process.'
    )


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {'median': float(median), 'low': float(low), 'high': float(high)}


def compare(ours: dict, theirs: dict) -> dict[str, float]:
    """How far the results of `check` of both sides are apart.

    Returns:
      The largest difference of a loss, and of a network's parameters or running means as a share of their
      change.

    Raises:
      ValueError: one of them is above TOLERANCE.
    """
    far = {
        'loss': largest(
            abs(value - mine[name]) / max(1, abs(value))
            for mine, line in zip(ours['metrics'], theirs['metrics'], strict=True)
            for name, value in line.items()
        )
    }
    # Torch's running variance is the unbiased one, ours is not, so it is left out.
    for kind, belongs in (
        ('parameters', lambda name: 'running' not in name),
        ('means', lambda name: 'running_mean' in name),
    ):
        far[kind] = largest(
            distance(theirs['after'][role], after, belongs)
            / distance(ours['before'][role], after, belongs)
            for role, after in ours['after'].items()
        )
    if not all(value <= TOLERANCE for value in far.values()):
        raise ValueError(
            f'The two sides do not take the same step, with a tolerance of {TOLERANCE:g}: {far}.'
        )
    return far


def largest(values) -> float:
    return float(np.max(list(values)))  # Other than Python's max, nan where one of them is.


def distance(a: dict, b: dict, belongs) -> float:
    return float(sum(((a[name] - b[name]) ** 2).sum() for name in b if belongs(name)) ** 0.5)
