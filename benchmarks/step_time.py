"""How long a training step takes, and what the loop adds: python -m benchmarks.step_time

Every algorithm on the digits (networks, batches and views of configs/digits.py) and with
WRN-28-2 on made-up pictures of 32x32. Prints a table and writes JSON. Each row has a process of
its own. Two times are measured by turns. `compiled`: the compiled call alone, on one batch that
is already on the devices. `loop`: the same call in a real run, mpl.train.fit, between its log
lines, so with batches, logging and progress bar, but without evaluation and checkpoints. On a
CPU also in processor time, of all threads, which hardly depends on what else the machine does.
"""

import concurrent.futures
import contextlib
import datetime
import json
import multiprocessing
import os
import platform
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import jax
import numpy as np
from etils import epath
from jax.experimental.compilation_cache import compilation_cache
from ml_collections import ConfigDict
from PIL import Image
from tabulate import tabulate

from benchmarks import flops
from mpl.data import batches
from mpl.run import command, loop, memory, metrics, records
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

METHODS = (
    'supervised', 'pseudo_label', 'uda',
    'mpl off', 'mpl exact', 'mpl per_example', 'mpl dot', 'mpl difference',
)  # fmt: skip
TASKS = ('digits', 'wide_resnet')
STEPS = 10**6  # of the config; a run is stopped long before
ROUNDS = 3  # of compiled and loop by turns
LEAST = 2  # windows of steps in a measurement, however long they take


def digits(method: str) -> ConfigDict:
    """The config of the digits, of endless length."""
    name, _, feedback = method.partition(' ')
    chosen = f'{name},feedback={feedback}' if feedback else name
    config = configs.load(f'configs/digits.py:{chosen}', []).to_dict()
    return configs.complete(
        config | {'steps': STEPS, 'every': config['every'] | {'evaluate': STEPS, 'save': STEPS}}
    )


def wide_resnet(method: str, pictures: str, labeled: int) -> ConfigDict:
    """The same algorithm with WRN-28-2, on the pictures in a folder, 7 unlabeled to 1 labeled."""
    config = digits(method).to_dict()
    network = {
        'model': {'name': 'wide_resnet'},
        'optimizer': {'name': 'sgd', 'learning_rate': 0.03, 'weight_decay': 5e-4},
    }
    # A step takes about a second on a CPU, where more of them in one call gain nothing.
    slow = jax.default_backend() == 'cpu'
    return configs.complete(
        config
        | {
            'source': {'name': 'folder', 'path': pictures, 'size': 32},
            'split': {'labels': 40},
            'batch': {
                'labeled': labeled,
                'unlabeled': 7 * labeled if config['batch']['unlabeled'] else 0,
            },
            'views': {
                'name': 'images',
                'mean': 127.5,
                'std': 64.0,
                'weak': {'mirror': True, 'shift': 4},
                'strong': {'name': 'randaugment'},
            },
            'networks': {role: network for role in config['networks']},
            'steps_per_call': 1 if slow else 10,
            'every': config['every'] | {'log': 1 if slow else 50},
        }
    )


def draw_pictures(folder: Path) -> None:
    """100 pictures of noise for each of 10 classes."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 100, 32, 32, 3), np.uint8)
    for label, pictures in enumerate(pixels):
        (folder / 'labeled' / str(label)).mkdir(parents=True)
        for number, picture in enumerate(pictures):
            Image.fromarray(picture).save(folder / 'labeled' / str(label) / f'{number}.png')


def measure(config: ConfigDict, seconds: float) -> dict:
    """Times the steps of a config.

    Args:
      config: complete; evaluates and saves at its last step only, which is far.
      seconds: to measure for, at least.

    Returns:
      A row: rates and milliseconds are medians over windows of every.log steps.

    Raises:
      ValueError: every.log is no multiple of steps_per_call.
    """
    size, window = config.steps_per_call, config.every.log
    if window % size:
        raise ValueError(f'every.log is {window}; give a multiple of steps_per_call, {size}.')
    experiment = experiments.assemble(config)
    steps, resident = loop.make_steps(experiment), batches.resident(experiment.pipeline)
    batch, root = batches.make_fetch(experiment.pipeline, size)(0), jax.random.key(config.seed)
    state = experiments.initialize(experiment)
    set_cache(False)
    started = time.perf_counter()
    lowered = steps.lower(state, resident, batch, root)
    traced = time.perf_counter()
    program = lowered.compile()
    compiled = time.perf_counter()
    set_cache(True)

    def call(state):
        return program(state, resident, batch, root)[0]

    def time_alone(state):
        state, times, busy = time_calls(call, state, window // size, seconds / 2 / (ROUNDS + 1))
        alone.append(times / window)
        alone_busy.append(busy / window)
        return state

    alone, alone_busy, looped, loop_busy = [], [], [], []
    state = time_alone(call(state))
    while len(looped) < ROUNDS and sum(map(np.sum, looped)) * window < seconds / 2:
        times, busy = time_loop(experiment, program, resident, seconds / 2 / ROUNDS)
        looped.append(times)
        loop_busy.append(busy)
        state = time_alone(state)
    shares = [
        1 - np.median(np.concatenate([before, after])) / np.median(real)
        for before, real, after in zip(alone, looped, alone[1:])
    ]
    loop_seconds = float(np.median(np.concatenate(looped)))
    busy = {'loop': float(np.mean(loop_busy)), 'compiled': float(np.mean(alone_busy))}
    sizes = program.memory_analysis()
    return {
        'batch': config.batch.to_dict(),
        'steps_per_call': size,
        'steps_per_second': 1 / loop_seconds,
        'images_per_second': (config.batch.labeled + config.batch.unlabeled) / loop_seconds,
        'loop_ms': spread(looped),
        'compiled_ms': spread(alone),
        'share_outside': float(np.median(shares)),
        'share_outside_by_round': [float(share) for share in shares],
        'processor_ms': {name: 1000 * value for name, value in busy.items()},
        'share_outside_processor': 1 - busy['compiled'] / busy['loop']
        if jax.default_backend() == 'cpu'
        else None,
        'trace_seconds': traced - started,
        'compile_seconds': compiled - traced,
        'program_bytes': sizes.argument_size_in_bytes
        + sizes.temp_size_in_bytes
        + sizes.output_size_in_bytes
        - sizes.alias_size_in_bytes,
        'resident_bytes': memory.peak(),
        'flops': count_flops(program),
        'flops_by_layers': flops.count_exact(experiment) if is_exact(config) else None,
        'load': os.getloadavg(),
    }


def count_flops(program: jax.stages.Compiled) -> float | None:
    """FLOPs of one step as XLA counts (a loop's body once); None if the compiler tells none."""
    counted = program.cost_analysis() or {}
    return counted['flops'] if 'flops' in counted else None


def time_calls(
    call: Callable[[Any], Any], state: Any, calls: int, seconds: float
) -> tuple[Any, np.ndarray, float]:
    """Windows of `calls` calls, waited for at the end of each.

    Returns:
      The state after, the seconds of each window, and the mean processor time of a window.
    """
    times, busy = [], time.process_time()
    while len(times) < LEAST or sum(times) < seconds:
        started = time.perf_counter()
        for _ in range(calls):
            state = call(state)
        jax.block_until_ready(state)
        times.append(time.perf_counter() - started)
    return state, np.array(times), (time.process_time() - busy) / len(times)


def time_loop(
    experiment: Experiment, program: Callable, resident: jax.Array | None, seconds: float
) -> tuple[np.ndarray, float]:
    """A run that takes the program given, instead of compiling it again, stopped as by Ctrl-C.

    Returns:
      Seconds per step in each window between two log lines, and mean processor time per step.
    """
    every, size, busy = experiment.config.every.log, experiment.config.steps_per_call, []

    def stamped(*args):
        busy.append(time.process_time())
        return program(*args)

    def make_steps(_):
        return stamped

    with tempfile.TemporaryDirectory() as folder:
        path, ended = epath.Path(folder) / 'metrics.jsonl', threading.Event()
        stopper = threading.Thread(target=_stop, args=(path, seconds, ended))
        with (
            open(Path(folder) / 'stderr', 'w', encoding='utf-8') as log,
            contextlib.redirect_stderr(log),
            mock.patch.object(loop, 'make_steps', make_steps),
            mock.patch.object(batches, 'resident', lambda _: resident),
        ):
            stopper.start()
            try:
                loop.fit(experiment, epath.Path(folder))
                raise ValueError(f'The run ended within {seconds} s; give it more steps.')
            except loop.Stopped:
                pass
            finally:
                ended.set()
                stopper.join()
        # The start of the run is in the first window, up to the first line.
        stamps = [line['seconds'] for line in metrics.read(path)]
    whole = busy[every // size :: every // size]
    return np.diff(stamps) / every, (whole[-1] - whole[0]) / (len(whole) - 1) / every


def _stop(path, seconds, ended):
    """Interrupts this process when the run has logged for so many seconds."""
    first = None
    while not ended.wait(0.1):
        lines = path.read_text(encoding='utf-8').count('\n') if path.exists() else 0
        if lines and first is None:
            first = time.monotonic()
        if lines > LEAST and time.monotonic() - first >= seconds:
            os.kill(os.getpid(), signal.SIGINT)
            return


def set_cache(enabled: bool) -> None:
    """Turns the persistent compilation cache on or off."""
    jax.config.update('jax_enable_compilation_cache', enabled)
    compilation_cache.reset_cache()  # JAX asks for the setting once only.


def spread(times: list[np.ndarray]) -> dict:
    """Median, quartiles and number of windows, in milliseconds per step."""
    low, median, high = np.quantile(1000 * np.concatenate(times), [0.25, 0.5, 0.75])
    windows = sum(map(len, times))
    return {'median': float(median), 'low': float(low), 'high': float(high), 'windows': windows}


def is_exact(config: ConfigDict) -> bool:
    return config.algorithm.to_dict().items() >= {'name': 'mpl', 'feedback': 'exact'}.items()


def work(task: str, method: str, seconds: float, folder: str, labeled: int) -> dict:
    """The row of a task and a method, in a process of its own."""
    # Initial states are alike in several rows. What is measured is compiled without the cache.
    jax.config.update('jax_compilation_cache_dir', f'{folder}/cache')
    jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
    config = digits(method) if task == 'digits' else wide_resnet(method, folder, labeled)
    row = {'task': task, 'method': method} | measure(config, seconds)
    return row | {'devices': f'{jax.device_count()} x {jax.devices()[0].device_kind}'}


def describe_machine() -> dict:
    info = Path('/proc/cpuinfo')
    found = (
        re.search(r'model name\s*: (.*)', info.read_text(encoding='utf-8'))
        if info.exists()
        else None
    )
    return {
        'cpu': found[1] if found else platform.processor(),
        'cores': len(os.sched_getaffinity(0))
        if hasattr(os, 'sched_getaffinity')
        else os.cpu_count(),
        'jax': jax.__version__,
        'date': datetime.datetime.now().isoformat(timespec='minutes'),
    }


def show(rows: list[dict]) -> str:
    """The rows as a table."""
    headers = [
        'task', 'method', 'batch', 'steps/s', 'images/s', 'loop ms', 'compiled ms', 'outside (%)',
        'of processor time (%)', 'compile s', 'program MiB', 'resident MiB', 'MFLOP', 'load',
    ]  # fmt: skip
    lines = [
        [
            row['task'],
            row['method'],
            f'{row["batch"]["labeled"]}+{row["batch"]["unlabeled"]}',
            f'{row["steps_per_second"]:.4g}',
            f'{row["images_per_second"]:,.0f}',
            *(
                f'{ms["median"]:.2f} ({ms["low"]:.2f}..{ms["high"]:.2f})'
                for ms in (row['loop_ms'], row['compiled_ms'])
            ),
            f'{100 * row["share_outside"]:.1f} ('
            + ', '.join(f'{100 * share:.1f}' for share in row['share_outside_by_round'])
            + ')',
            '-'
            if row['share_outside_processor'] is None
            else f'{100 * row["share_outside_processor"]:.1f}',
            f'{row["compile_seconds"]:.1f}',
            f'{row["program_bytes"] / 2**20:.1f}',
            f'{row["resident_bytes"] / 2**20:.0f}',
            ('unknown' if row['flops'] is None else f'{row["flops"] / 1e6:,.0f}')
            + (f' of {row["flops_by_layers"] / 1e6:,.0f}' if row['flops_by_layers'] else ''),
            f'{row["load"][0]:.1f}',
        ]
        for row in rows
    ]
    align = ['left', 'left'] + ['right'] * (len(headers) - 2)
    return tabulate(lines, headers, colalign=align, disable_numparse=True)


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/step_time.json'))
    parser.add_argument('--only', choices=TASKS)
    parser.add_argument('--methods', nargs='+', default=METHODS, choices=METHODS)
    parser.add_argument('--seconds', type=float, default=5.0, help='of measuring, per row')
    parser.add_argument('--labeled', type=int, default=4, help='batch of wide_resnet')
    given = parser.parse_args()
    machine, rows = describe_machine(), []
    given.json.parent.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context('spawn'), max_tasks_per_child=1
        ) as executor,
    ):
        draw_pictures(Path(folder))
        for task in [given.only] if given.only else TASKS:
            for method in given.methods:
                started = time.monotonic()
                rows.append(
                    executor.submit(
                        work, task, method, given.seconds, folder, given.labeled
                    ).result()
                )
                text = json.dumps({'machine': machine, 'rows': rows}, indent=2)
                records.write_utf8(epath.Path(given.json), text + '\n')
                print(f'{task}, {method}: {time.monotonic() - started:.0f} s', file=sys.stderr)
    print(show(rows))
    print(', '.join(f'{name} {value}' for name, value in machine.items()), rows[0]['devices'])
    print(
        'Steps and images per second are those of the loop; ms are per step, median (quartiles) '
        'over windows; outside = 1 - compiled / loop, median (rounds); MFLOP per step as XLA counts, of layer sizes.'
    )


if __name__ == '__main__':
    command.main(main)
