"""The networks of configs/laptop.py: parameters, FLOPs, and how fast they train: python -m benchmarks.networks

A step of labels only on CIFAR-10's shape, on noise that stays in memory, without views: processor time
of all threads, the median over turns. FLOPs are those of convolutions and matrix products
(mpl/run/flops.py). Pin it to one core for numbers of one core: taskset -c 0.
"""

import argparse

import jax
import numpy as np
from tabulate import tabulate

from benchmarks import augment, jax_side, step_time
from configs import budgets, laptop
from mpl.planning import footprint
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import flops

STEPS = 5  # in one call, as in training


def measure(name: str, images: int, seconds: float) -> dict:
    """One network's numbers: parameters, FLOPs forward of an image and of a step, seconds of a step.

    Args:
      name: of the network, in laptop.MODELS.
      images: in a step.
      seconds: to measure for, at least; three times or more, STEPS steps each.
    """
    overrides = [f'--config.batch.labeled={images}']
    config = configs.load(f'configs/laptop.py:supervised,model={name}', overrides)
    experiment = experiments.assemble(config, jax.devices()[:1], footprint.stand_in(config, 50_000))
    random = np.random.default_rng(0)
    batch = {
        'labeled': {
            'image': random.normal(size=(images, 32, 32, 3)).astype(np.float32),
            'label': random.integers(0, 10, images, np.int32),
        }
    }
    state = jax.eval_shape(
        lambda key: experiment.algorithm.init(key, batch, jax_side.SIZES), jax.random.key(0)
    )
    run, _, _ = jax_side.make_run(experiment.algorithm, batch, STEPS)
    spent = augment.measure(run, seconds)
    return {
        'parameters': sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        'forward': budgets.forward(name, 'cifar10'),
        'step': flops.of_step(experiment),
        'seconds': spent['processor'] / STEPS,
    }


def show(rows: dict[str, dict]) -> str:
    """The rows by name as a table."""
    lines = [
        [
            name,
            f'{row["parameters"]:,}',
            f'{row["forward"] / 2e6:,.1f}',
            f'{1000 * row["seconds"]:,.0f}',
            f'{row["step"] / row["seconds"] / 1e9:.0f}',
        ]
        for name, row in rows.items()
    ]
    head = ['network', 'parameters', 'million multiply-adds', 'ms/step', 'GFLOP/s']
    return tabulate(lines, head, tablefmt='github', disable_numparse=True)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition('\n')[0])
    parser.add_argument('--networks', nargs='+', default=list(laptop.MODELS), choices=laptop.MODELS)
    parser.add_argument('--images', type=int, default=64, help='in a step')
    parser.add_argument('--seconds', type=float, default=5.0, help='for each network')
    given = parser.parse_args(arguments)
    machine = step_time.describe_machine()
    print(', '.join(f'{key} {value}' for key, value in machine.items()))
    print(show({name: measure(name, given.images, given.seconds) for name in given.networks}))


if __name__ == '__main__':
    main()
