"""The step beside PyTorch: python -m benchmarks.torch_mpl --labeled=16 --ratio=7 --threads=1

WRN-28-2 on noise that stays in memory, without views: our compiled step, and the same in plain
good PyTorch (torch_step.py; pip install -r benchmarks/requirements-torch.txt). Before anything is
timed, both take two small steps from the same weights and must agree. Then each has a process,
and they take turns. On a CPU also in processor time, which depends less on what else
the machine does. Feedback `port` is what the popular port does, set beside our `difference`:
the student's labeled loss before its step comes from the batch that it learns from.
"""

import concurrent.futures
import json
import multiprocessing
import os
import sys
import time
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from etils import epath
from tabulate import tabulate

from benchmarks import step_time
from mpl import command, metrics, report
from mpl.algorithms import mpl
from mpl.models import wide_resnet
from mpl.network import Definition, Network, Variables
from mpl.optimizers import sgd

FEEDBACKS = ('port', 'difference', 'exact', 'off')
SIDES = ('torch', 'jax')
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
TOLERANCE = 1e-4  # of losses; of parameters after the step, ten times that in their change


class Setting(NamedTuple):
    """What is timed."""

    feedback: str
    labeled: int
    unlabeled: int
    depth: int
    width: int
    size: int
    dtype: str
    compile: str
    threads: int


def make_rule(feedback: str):
    from benchmarks import torch_step

    return torch_step.Rule(feedback=feedback, **RULE)


def make_learner(feedback: str, depth: int, width: int, dtype: str | None):
    """Our algorithm under the same rule."""
    feedback = 'difference' if feedback == 'port' else feedback
    rest = {k: v for k, v in RULE.items() if k not in ('learning_rate', 'weight_decay')}
    definition = Definition(
        wide_resnet.make(10, depth=depth, width=width, dtype=dtype),
        sgd.make(10**6, RULE['learning_rate'], 'constant', weight_decay=RULE['weight_decay']),
    )
    labels = 'sampled' if feedback == 'difference' else 'soft'
    return mpl.make(definition, definition, feedback=feedback, labels=labels, **rest)


def draw_batch(labeled: int, unlabeled: int, size: int) -> list[np.ndarray]:
    """Labeled images, their labels, weak and strong views: noise, [B, size, size, 3] float32."""
    random = np.random.default_rng(0)

    def images(count):
        return random.normal(size=(count, size, size, 3)).astype(np.float32)

    label = random.integers(0, 10, labeled).astype(np.int32)
    return [images(labeled), label, images(unlabeled), images(unlabeled)]


def named(batch: list[np.ndarray]) -> dict:
    image, label, weak, strong = batch
    return {
        'labeled': {'image': image, 'label': label},
        'unlabeled': {'weak': weak, 'strong': strong},
    }


# The check: both sides from the same weights.


def check_jax(feedback: str, depth: int, width: int, batch: list[np.ndarray], steps: int) -> dict:
    """Our steps, and what the other side needs to take the same ones, in torch's layouts."""
    learner, random = make_learner(feedback, depth, width, None), np.random.default_rng(1)
    state = learner.init(jax.random.key(0), named(batch))
    state = jax.tree.map(  # Else norms and biases are all 1 or 0, and would not be told apart.
        lambda leaf: (
            leaf + 0.1 * random.normal(size=leaf.shape).astype(leaf.dtype) if leaf.ndim else leaf
        ),
        state,
    )
    state = state.replace(
        teacher=begin(state.teacher), student=begin(state.student), baseline=0 * state.baseline
    )
    before, lines, noises = in_torch(state), [], []
    for step in range(steps):
        key = jax.random.key(step)
        state, line = jax.jit(learner.update)(state, named(batch), step, key)
        lines.append({name: float(value) for name, value in line.items()})
        label_key = jax.random.split(key, 4)[3]  # as mpl.update splits it, to sample labels with
        noises.append(np.asarray(jax.random.gumbel(label_key, (len(batch[2]), 10))))
    return {'before': before, 'noises': noises, 'lines': lines, 'after': in_torch(state)}


def begin(net: Network) -> Network:
    """Before the first step: no momentum, the average equal to the weights."""
    average = None if net.ema is None else Variables(net.params, net.ema.batch_stats)
    zeros = jax.tree.map(lambda leaf: 0 * leaf, net.opt_state)
    return net.replace(opt_state=zeros, ema=average)


def in_torch(state: mpl.State) -> dict[str, dict[str, np.ndarray]]:
    """Parameters of every network under torch's names and in its layouts."""
    trees = {
        'teacher': state.teacher.params,
        'student': state.student.params,
        'student_ema': state.student.ema.params,
    }
    return {
        role: dict(_torch_name(*leaf) for leaf in jax.tree.leaves_with_path(tree))
        for role, tree in trees.items()
    }


def _torch_name(path, leaf):
    *layers, last = (entry.key for entry in path)
    leaf, last = np.asarray(leaf), 'bias' if last == 'bias' else 'weight'
    axes = {4: (3, 2, 0, 1), 2: (1, 0), 1: (0,)}[leaf.ndim]
    return '.'.join([*layers, last]), np.ascontiguousarray(leaf.transpose(axes))


def check_torch(feedback: str, depth: int, width: int, batch: list, ours: dict):
    from benchmarks import torch_step

    return torch_step.check(
        make_rule(feedback), depth, width, ours['before'], batch, ours['noises']
    )


def compare(ours: dict, lines: list[dict], after: dict) -> dict[str, float]:
    """The largest difference in losses, and that in parameters as a share of their change.

    Raises:
      ValueError: they are not the same step.
    """
    losses = max(
        abs(value - mine[name]) / max(1, abs(value))
        for mine, line in zip(ours['lines'], lines)
        for name, value in line.items()
    )
    parameters = max(
        distance(after[role], ours['after'][role])
        / distance(ours['before'][role], ours['after'][role])
        for role in ours['after']
    )
    if not (losses <= TOLERANCE and parameters <= 10 * TOLERANCE):
        raise ValueError(
            f'The two sides do not take the same step: losses differ by {losses:.1e}, '
            f'parameters by {parameters:.1e} of their change. Nothing was timed.'
        )
    return {'losses': losses, 'parameters': parameters}


def distance(a: dict, b: dict) -> float:
    return float(sum(((a[name] - b[name]) ** 2).sum() for name in b) ** 0.5)


# The timing: functions of a process that one side has for itself.


def enter(threads: int) -> None:
    """Before either library starts: XLA takes a thread for each processor it may run on."""
    os.environ['XLA_PYTHON_CLIENT_PREALLOCATE'] = 'false'
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def start(side: str, setting: Setting) -> dict:
    """Builds a side's step and warms it up; `time_steps` and `read_memory` go on from there."""
    global _run, _before
    batch = draw_batch(setting.labeled, setting.unlabeled, setting.size)
    begun = time.perf_counter()
    if side == 'jax':
        _run, device = make_jax_run(setting, batch)
    else:
        from benchmarks import torch_step

        _run, device = torch_step.make_run(
            make_rule(setting.feedback),
            setting.depth,
            setting.width,
            batch,
            setting.dtype,
            setting.compile,
            setting.threads,
        )
    _run(2)
    Path('/proc/self/clear_refs').write_text('5')  # Starts the peak of resident memory anew.
    return {'device': device, 'start_seconds': time.perf_counter() - begun}


def make_jax_run(setting: Setting, batch: list[np.ndarray]):
    learner = make_learner(
        setting.feedback,
        setting.depth,
        setting.width,
        None if setting.dtype == 'float32' else setting.dtype,
    )
    placed, key = jax.device_put(named(batch)), jax.random.key(0)
    state = jax.jit(learner.init)(key, placed)
    program = jax.jit(learner.update, donate_argnums=0).lower(state, placed, 0, key).compile()

    def run(steps):
        nonlocal state
        for _ in range(steps):
            state, _ = program(state, placed, 0, key)
        jax.block_until_ready(state)

    return run, jax.devices()[0].device_kind


def time_steps(steps: int) -> tuple[float, float]:
    """Milliseconds per step, by the clock and of processor time."""
    wall, busy = time.perf_counter(), time.process_time()
    _run(steps)
    return (
        1000 * (time.perf_counter() - wall) / steps,
        1000 * (time.process_time() - busy) / steps,
    )


def read_memory(side: str) -> int:
    """Peak bytes over the steps: of the GPU, or of the whole process with its libraries."""
    if side == 'jax':
        memory = (jax.local_devices()[0].memory_stats() or {}).get('peak_bytes_in_use')
    else:
        from benchmarks import torch_step

        memory = torch_step.peak_memory()
    return report.peak_memory() if memory is None else memory


def measure(setting: Setting, rounds: int, steps: int) -> dict:
    """A row: both sides by turns, each in a process of its own."""
    with Process(setting.threads) as torch, Process(setting.threads) as ours:
        sides = dict(zip(SIDES, (torch, ours)))
        started = {side: process(start, side, setting) for side, process in sides.items()}
        times = {side: [] for side in SIDES}
        for turn in range(rounds):
            for side in SIDES[:: 1 if turn % 2 else -1]:
                times[side].append(sides[side](time_steps, steps))
        memory = {side: process(read_memory, side) for side, process in sides.items()}
    by_side = {side: np.array(pairs).T for side, pairs in times.items()}
    row = {'setting': setting._asdict(), 'load': os.getloadavg()[0]}
    for side, (wall, busy) in by_side.items():
        row[side] = started[side] | {
            'ms': step_time.spread([wall / 1000]),
            'processor_ms': step_time.spread([busy / 1000]),
            'images_per_second': 1000 * (setting.labeled + setting.unlabeled) / np.median(wall),
            'peak_bytes': memory[side],
        }
    wall, busy = by_side['jax'] / by_side['torch']
    return row | {
        'ratio': step_time.spread([wall / 1000]),
        'processor_ratio': float(np.median(busy)),
    }


class Process:
    """A process of its own, to call functions in."""

    def __init__(self, threads: int):
        self.executor = concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context('spawn'), enter, (threads,)
        )

    def __enter__(self):
        return lambda function, *args: self.executor.submit(function, *args).result()

    def __exit__(self, *_):
        self.executor.shutdown()


def check(feedback: str, depth: int = 10, width: int = 1, size: int = 8, steps: int = 2) -> dict:
    """Both sides take the same steps, with 4 + 12 images; see `compare`."""
    batch = draw_batch(4, 12, size)
    with Process(1) as torch, Process(1) as ours:
        mine = ours(check_jax, feedback, depth, width, batch, steps)
        return compare(mine, *torch(check_torch, feedback, depth, width, batch, mine))


def show(rows: list[dict]) -> str:
    """The rows as a table."""
    headers = [
        'feedback', 'batch', 'side', 'ms/step', 'processor ms', 'images/s', 'peak MiB',
        'jax/torch', 'of processor time', 'load',
    ]  # fmt: skip
    lines = []
    for row in rows:
        for side in SIDES:
            given, ms, busy = row['setting'], row[side]['ms'], row[side]['processor_ms']
            line = [
                given['feedback'],
                f'{given["labeled"]}+{given["unlabeled"]}',
                side,
                f'{ms["median"]:.4g} ({ms["low"]:.4g}..{ms["high"]:.4g})',
                f'{busy["median"]:.4g}',
                f'{row[side]["images_per_second"]:,.0f}',
                f'{row[side]["peak_bytes"] / 2**20:,.0f}',
            ]
            if side == 'jax':
                ratio = row['ratio']
                line += [
                    f'{ratio["median"]:.2f} ({ratio["low"]:.2f}..{ratio["high"]:.2f})',
                    f'{row["processor_ratio"]:.2f}',
                    f'{row["load"]:.1f}',
                ]
            lines.append(line)
    return tabulate(lines, headers, disable_numparse=True)


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--labeled', type=int, default=16)
    parser.add_argument('--ratio', type=int, default=7, help='unlabeled images for each labeled')
    parser.add_argument('--threads', type=int, default=1, help='of either side, on the CPU')
    parser.add_argument('--feedbacks', nargs='+', default=FEEDBACKS[:3], choices=FEEDBACKS)
    parser.add_argument('--depth', type=int, default=28)
    parser.add_argument('--width', type=int, default=2)
    parser.add_argument('--size', type=int, default=32, help='of images')
    parser.add_argument('--dtype', default='float32', choices=('float32', 'bfloat16'))
    parser.add_argument('--compile', default='', help='a mode of torch.compile, as `default`')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each side')
    parser.add_argument('--steps', type=int, default=1, help='in a turn')
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/torch_mpl.json'))
    given = parser.parse_args()
    given.json.parent.mkdir(parents=True, exist_ok=True)
    machine, rows, checks = step_time.describe_machine(), [], {}
    for feedback in dict.fromkeys('difference' if f == 'port' else f for f in given.feedbacks):
        checks[feedback] = check(feedback)
        print(f'{feedback}: the same steps, but for {checks[feedback]}', file=sys.stderr)
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
            given.threads,
        )
        rows.append(measure(setting, given.rounds, given.steps))
        text = json.dumps({'machine': machine, 'checks': checks, 'rows': rows}, indent=2)
        metrics.write_whole(epath.Path(given.json), text + '\n')
    print(show(rows))
    print(', '.join(f'{name} {value}' for name, value in machine.items()))
    print(
        f'{given.threads} threads, {given.dtype}; median (quartiles) over {given.rounds} turns; '
        'ratios are of neighboring turns; peak MiB of a CPU is that of the whole process.'
    )


if __name__ == '__main__':
    command.main(main)
