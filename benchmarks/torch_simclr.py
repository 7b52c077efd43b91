"""A step of SimCLR beside PyTorch: python -m benchmarks.torch_simclr --images=128

The network of configs/laptop.py with a projector of configs/laptop_pretrain.py, on noise of 32x32 pixels that stays
in memory, without views: our compiled step (simclr_step.py) and the same step in good plain PyTorch
(torch_simclr_step.py). Checked and timed as torch_mpl.py does it; float32.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks import torch_turns

SIDES = {'torch': 'benchmarks.torch_simclr_step', 'jax': 'benchmarks.simclr_step'}
RULE = dict(
    channels=(32, 128, 128),
    widths=(256, 128),
    temperature=0.2,
    learning_rate=0.06,
    weight_decay=5e-4,
)


def draw_views(images: int, size: int) -> list[np.ndarray]:
    """Two views: noise, [B, size, size, 3] float32."""
    random = np.random.default_rng(0)
    return [random.normal(size=(images, size, size, 3)).astype(np.float32) for _ in range(2)]


def check(images: int = 6, size: int = 9, steps: int = 2) -> dict:
    """How far both sides are apart after some steps from the same weights, with a narrower network.

    Returns, raises: as torch_turns.compare.
    """
    rule, views = RULE | dict(channels=(4, 6, 8), widths=(12, 5)), draw_views(images, size)
    return torch_turns.check(SIDES, (rule, views), steps)


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--check', action='store_true', help='only that both take the same steps')
    parser.add_argument(
        '--images', type=int, default=128, help='of a step; it has two views of each'
    )
    parser.add_argument('--cores', type=int, nargs='*', default=(), help='of the CPU, or else all')
    parser.add_argument('--rounds', type=int, default=5, help='turns of each side')
    parser.add_argument('--steps', type=int, default=4, help='in a turn; ours are one call')
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/torch_simclr.json'))
    return parser.parse_args(arguments)


def main(given: argparse.Namespace) -> None:
    far = check()
    print(
        'the same two steps to ' + ', '.join(f'{name} {value:.1e}' for name, value in far.items())
    )
    if given.check:
        return
    from benchmarks import step_time

    args = (RULE, draw_views(given.images, 32), given.steps)
    cores = tuple(given.cores)
    row = torch_turns.measure(SIDES, args, given.steps, given.images, given.rounds, cores)
    found = {'machine': step_time.describe_machine(), 'check': far, 'images': given.images} | row
    given.json.parent.mkdir(parents=True, exist_ok=True)
    given.json.write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
    print(torch_turns.show(['images'], [([given.images], row)]))
    print(', '.join(f'{name} {value}' for name, value in found['machine'].items()))
    print(torch_turns.describe(cores, 'float32', given.rounds, given.steps))


if __name__ == '__main__':
    main(parse())
