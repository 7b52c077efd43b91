"""FLOPs of a step of each method, beside the least that the method needs: python -m benchmarks.passes

Counted in the traced update (mpl/run/flops.py), in passes forward of one image of the fast network
on CIFAR-10. The least: 3 passes for an image with a loss (forward, and twice as much backward), 1 for a
view that only gives targets, 2 for the product with a tangent. For self-supervised rules it is that of
the trunk alone, so that heads are in the ratio. `joined` is the form in which the views
that give targets are in one pass with the others. Nothing is compiled.
"""

import jax
from ml_collections import ConfigDict
from tabulate import tabulate

from configs import budgets, laptop_pretrain
from mpl.planning import footprint
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import flops


def count(config: ConfigDict) -> float:
    """Passes forward of one image in a step of a config with the fast network on CIFAR-10."""
    experiment = experiments.assemble(config, jax.devices()[:1], footprint.stand_in(config, 50_000))
    return flops.of_step(experiment) / budgets.forward('fast_cnn', 'cifar10')


def rows() -> list[list]:
    """Of each method: its name, the least, the passes of its step, their ratio, the joined form."""
    found = []
    for method, (labeled, unlabeled) in budgets.COSTS.items():
        least = (labeled + budgets.RATIO * unlabeled) * budgets.LABELED['fast_cnn']
        path, joined = f'configs/laptop.py:{method}', '-'
        config = configs.load(path, [])
        passes = count(config)
        if 'target_pass' in config.algorithm:
            other = configs.load(path, ['--config.algorithm.target_pass=joined'])
            joined = f'{count(other) / least:.2f}'
        found.append([method, f'{least:,}', f'{passes:,.0f}', f'{passes / least:.2f}', joined])
    for method, (labeled, unlabeled) in laptop_pretrain.COSTS.items():
        least = labeled * laptop_pretrain.LABELED + unlabeled * laptop_pretrain.UNLABELED
        passes = count(configs.load(f'configs/laptop_pretrain.py:{method}', []))
        found.append([method, f'{least:,}', f'{passes:,.0f}', f'{passes / least:.2f}', '-'])
    return found


if __name__ == '__main__':
    head = ['method', 'least', 'passes', 'ratio', 'ratio, joined']
    print(tabulate(rows(), head, tablefmt='github', disable_numparse=True))
