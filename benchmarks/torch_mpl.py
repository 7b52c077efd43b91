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
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import torch_turns

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

    Returns, raises: as torch_turns.compare.
    """
    batch, rule = draw_batch(4, 12, size), RULE | {'feedback': feedback}
    return torch_turns.check(SIDES, (rule, depth, width, batch), steps)


def measure(setting: Setting, rounds: int) -> dict:
    """A row: both sides by turns."""
    batch = draw_batch(setting.labeled, setting.unlabeled, setting.size)
    rule = RULE | {'feedback': setting.feedback}
    args = (
        rule,
        setting.depth,
        setting.width,
        batch,
        setting.dtype,
        setting.compile,
        setting.steps,
    )
    images = setting.labeled + setting.unlabeled
    found = torch_turns.measure(SIDES, args, setting.steps, images, rounds, setting.cores)
    return {'setting': setting._asdict()} | found


def show(rows: list[dict]) -> str:
    """The rows as a table."""
    settings = [row['setting'] for row in rows]
    named = [[s['feedback'], f'{s["labeled"]}+{s["unlabeled"]}'] for s in settings]
    return torch_turns.show(['feedback', 'batch'], list(zip(named, rows)))


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
    print(torch_turns.describe(given.cores, given.dtype, given.rounds, given.steps))


if __name__ == '__main__':
    main(parse())
