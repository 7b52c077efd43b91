"""A step of MPL beside PyTorch: python -m benchmarks.torch_mpl --labeled=16 --ratio=7

WRN-28-2 on noise that stays in memory, without views: our compiled step (mpl_step.py) and the same
step in good plain PyTorch (torch_step.py; pip install -r benchmarks/requirements-torch.txt).
Before anything is timed, a small network takes two steps on both sides from the same weights, and
they must agree; --check does only that. Then each side has a process of its own, on the same
cores, and they take turns, each with as many steps before it that are not timed. On a CPU also in
processor time, of all threads, which depends less on what else the machine does. A GPU or TPU is
used where the library finds one, there for example with --labeled=128 --dtype=bfloat16 --steps=20.
"""

import argparse
import concurrent.futures
import importlib
import json
import multiprocessing
import os
import re
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tabulate import tabulate

# A process imports this file too, and then the library of its side alone, which is what its memory
# is measured with. So no library of either side is imported here.

SIDES = {'torch': 'benchmarks.torch_step', 'jax': 'benchmarks.mpl_step'}
FEEDBACKS = ('exact', 'difference')
RULE = dict(
    learning_rate=0.03,
    weight_decay=5e-4,
    label_smoothing=0.15,
    uda_weight=8.0,
    uda_temperature=0.7,
    uda_threshold=0.6,
    feedback_weight=1.0,
    baseline_decay=0.99,
    ema_decay=0.995,
)
TOLERANCE = 1e-4  # of losses, relative where above 1; and of arrays as a share of their change


class Setting(NamedTuple):
    """What is timed."""

    feedback: str
    labeled: int
    unlabeled: int
    depth: int
    width: int
    size: int  # of the images, pixels
    dtype: str
    compile: str
    steps: int  # of a turn; ours are one call
    cores: tuple[int, ...]


def draw_batch(labeled: int, unlabeled: int, size: int) -> list[np.ndarray]:
    """Labeled images, their labels, weak and strong views: noise, [B, size, size, 3] float32."""
    random = np.random.default_rng(0)

    def images(count):
        return random.normal(size=(count, size, size, 3)).astype(np.float32)

    label = random.integers(0, 10, labeled).astype(np.int32)
    return [images(labeled), label, images(unlabeled), images(unlabeled)]


def check(feedback: str, depth: int = 10, width: int = 1, size: int = 8, steps: int = 2) -> dict:
    """How far both sides are apart after some steps with 4 + 12 images from the same weights.

    Returns:
      The largest difference of a loss, and of a network's parameters or running statistics as a
      share of their change.

    Raises:
      ValueError: one of them is above TOLERANCE.
    """
    batch, rule = draw_batch(4, 12, size), RULE | {'feedback': feedback}
    with Process(()) as call:
        ours = call(check_jax, rule, depth, width, batch, steps)
    with Process(()) as call:
        theirs = call(check_torch, rule, depth, width, batch, ours['before'], ours['noises'])
    return compare(ours, theirs)


def check_jax(*args):
    return importlib.import_module(SIDES['jax']).check(*args)


def check_torch(*args):
    return importlib.import_module(SIDES['torch']).check(*args)


def compare(ours: dict, theirs: dict) -> dict[str, float]:
    """See `check`."""
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


def start(side: str, setting: Setting) -> dict:
    """Builds a side's step and warms it up; `time_steps` and `read_memory` go on from there."""
    global _run, _module
    batch = draw_batch(setting.labeled, setting.unlabeled, setting.size)
    begun = time.perf_counter()
    _module = importlib.import_module(SIDES[side])
    rule = RULE | {'feedback': setting.feedback}
    _run, device = _module.make_run(
        rule, setting.depth, setting.width, batch, setting.dtype, setting.compile, setting.steps
    )
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
    memory = _module.peak_memory()
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


def measure(setting: Setting, rounds: int) -> dict:
    """A row: both sides by turns, each in a process of its own."""
    with Process(setting.cores) as torch, Process(setting.cores) as jax:
        calls = {'torch': torch, 'jax': jax}
        sides = {side: call(start, side, setting) for side, call in calls.items()}
        times = {side: [] for side in SIDES}
        for turn in range(rounds):
            for side in list(SIDES)[:: 1 if turn % 2 else -1]:
                times[side].append(calls[side](time_steps, setting.steps))
        memory = {side: call(read_memory) for side, call in calls.items()}
    times = {side: np.array(pairs).T for side, pairs in times.items()}
    for side, (wall, busy) in times.items():
        sides[side] |= {
            'ms': quartiles(wall),
            'processor_ms': quartiles(busy),
            'images_per_second': 1000 * (setting.labeled + setting.unlabeled) / np.median(wall),
            'peak_bytes': memory[side],
        }
    ratio, processor_ratio = map(quartiles, times['jax'] / times['torch'])
    return {
        'setting': setting._asdict(),
        'load': os.getloadavg()[0],
        'ratio': ratio,
        'processor_ratio': processor_ratio,
    } | sides


def quartiles(values: np.ndarray) -> dict[str, float]:
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    return {'median': float(median), 'low': float(low), 'high': float(high)}


def show(rows: list[dict]) -> str:
    """The rows as a table."""

    def text(value, form):
        return f'{value["median"]:{form}} ({value["low"]:{form}}..{value["high"]:{form}})'

    headers = [
        'feedback', 'batch', 'side', 'device', 'ms/step', 'processor ms', 'images/s', 'peak MiB',
        'jax/torch', 'of processor time', 'load',
    ]  # fmt: skip
    lines = []
    for row in rows:
        setting = row['setting']
        for side in SIDES:
            line = [
                setting['feedback'],
                f'{setting["labeled"]}+{setting["unlabeled"]}',
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


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='only that both take the same steps')
    parser.add_argument('--labeled', type=int, default=16)
    parser.add_argument('--ratio', type=int, default=7, help='unlabeled images for each labeled')
    parser.add_argument('--cores', type=int, nargs='*', default=(), help='of the CPU, or else all')
    parser.add_argument('--feedbacks', nargs='+', default=FEEDBACKS, choices=FEEDBACKS)
    parser.add_argument('--depth', type=int, default=28)
    parser.add_argument('--width', type=int, default=2)
    parser.add_argument('--size', type=int, default=32, help='of images')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--compile', default='', help='a mode of torch.compile, as `default`')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each side')
    parser.add_argument('--steps', type=int, default=4, help='in a turn; ours are one call')
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/torch_mpl.json'))
    return parser.parse_args(arguments)


def main(given: argparse.Namespace) -> None:
    checks, rows = {}, []
    for feedback in given.feedbacks:
        checks[feedback] = check(feedback)
        far = ', '.join(f'{name} {value:.1e}' for name, value in checks[feedback].items())
        print(f'{feedback}: the same two steps to {far}', file=sys.stderr)
    if given.check:
        return
    from benchmarks import step_time

    machine = step_time.describe_machine()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    for feedback in given.feedbacks:
        setting = Setting(
            feedback,
            given.labeled,
            given.ratio * given.labeled,
            given.depth,
            given.width,
            given.size,
            given.dtype,
            given.compile,
            given.steps,
            tuple(given.cores),
        )
        rows.append(measure(setting, given.rounds))
        given.json.write_text(
            json.dumps({'machine': machine, 'checks': checks, 'rows': rows}, indent=2) + '\n',
            encoding='utf-8',
        )
    print(show(rows))
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    print(
        f'{len(given.cores) or "all"} cores, {given.dtype}; median (quartiles) over '
        f'{given.rounds} turns of {given.steps} steps; ratios are of neighboring turns; peak MiB '
        'on a CPU is that of the whole process.'
    )


if __name__ == '__main__':
    main(parse())
