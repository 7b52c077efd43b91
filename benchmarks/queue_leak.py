"""The leak of batch statistics into queues of keys: python -m benchmarks.queue_leak

Trains MoCo on the digits (configs/digits_pretrain.py) with keys whose batch norm has the statistics
of their batch, `keys=batch`, and with those of the averaged network in evaluation mode,
`keys=averaged`. Of a query and its key, which are of one batch, and the negatives, which are of
earlier ones, the statistics of the batch can tell which is the key. So the pretext accuracy is
measured twice on the same queries and queue: with the keys of a batch encoded together as in
training, and with each encoded among images of other batches. A fall is the leak; with
keys=averaged a key does not depend on its batch. Prints a table and writes JSON.
"""

import argparse
import json
import tempfile
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from tabulate import tabulate

from mpl.algorithms import pretraining, queues, target_network
from mpl.data import batches
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import loop

BATCHES = 64  # whose images are mixed


def measure(seed: int, keys: str, steps: int, *overrides: str) -> dict:
    """The pretext accuracies of one run after its last step; overrides: more of its config."""
    config = configs.load(
        'configs/digits_pretrain.py:moco',
        [
            f'--config.seed={seed}',
            f'--config.steps={steps}',
            f'--config.algorithm.keys={keys}',
            f'--config.every.evaluate={steps}',
            f'--config.every.save={steps}',
            f'--config.every.log={steps}',
            *overrides,
        ],
    )
    experiment = experiments.assemble(config)
    with tempfile.TemporaryDirectory() as folder:
        state, _ = loop.fit(experiment, epath.Path(folder))
    chain = {role: experiment.definitions[role] for role in ('student', 'projector')}
    root, images = jax.random.key(seed), batches.resident(experiment.pipeline)
    fetch = batches.make_fetch(experiment.pipeline, 1)

    @jax.jit
    def augment(batch, step):
        return batches.augment(experiment.pipeline, batch, images, root, step)['unlabeled']

    def views(step):
        batch = jax.tree.map(lambda leaf: leaf[0], fetch(step))
        batch.pop('step')
        return augment(batch, step)

    def encode(image):
        key = jax.random.key(0)
        (found,) = target_network.encode(chain, state, key, keys, image)
        return found

    @jax.jit
    def accuracies(query, image, index):
        """Of the images [N, B, ...] of N batches that follow the last one of the run."""
        order = jax.random.permutation(jax.random.key(seed), query.shape[0] * query.shape[1])
        flat = image.reshape(-1, *image.shape[2:])
        mixed = jax.lax.map(encode, flat[order].reshape(image.shape))
        mixed = mixed.reshape(len(flat), -1)[jnp.argsort(order)].reshape(*image.shape[:2], -1)

        def one(pair):
            query, image, mixed, index = pair
            params = {role: net.params for role, net in state.nets.items()}
            outputs, _ = pretraining.forward(
                chain, params, pretraining.statistics(state), jax.random.key(0), query
            )
            (q,), (queue,) = outputs['projector'], state.memory
            temperature = config.algorithm.temperature
            return [
                queues.among_earlier(q, k, index, queue, temperature)[1]
                for k in (encode(image), mixed)
            ]

        return [jnp.mean(values) for values in jax.lax.map(one, (query, image, mixed, index))]

    found = [views(step) for step in range(steps, steps + BATCHES)]
    drawn = [np.stack([view[name] for view in found]) for name in ('view_0', 'view_1', 'index')]
    together, among_others = map(float, accuracies(*drawn))
    return {'keys': keys, 'seed': seed, 'together': together, 'among others': among_others}


def main(given=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--steps', type=int, default=1000)
    parser.add_argument('--output', type=Path, default=Path('queue_leak.json'))
    given = parser.parse_args(given)
    rows = [
        measure(seed, keys, given.steps)
        for keys in target_network.STATISTICS
        for seed in range(given.seeds)
    ]
    print(tabulate(rows, headers='keys', floatfmt='.4f'))
    given.output.write_text(json.dumps(rows, indent=2) + '\n', encoding='utf-8')
    return rows


if __name__ == '__main__':
    main()
