"""The training of the two-moons experiment: every seed of a config in one compiled program."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import ml_collections
import numpy as np

from benchmarks import two_moons_report as report
from mpl.algorithms import interface as algorithms
from mpl.algorithms.interface import Algorithm
from mpl.data import batches, splits, stream
from mpl.models import network
from mpl.run import config as configs


class Moons(NamedTuple):
    """The points of one seed; of S seeds, with a leading axis."""

    image: np.ndarray  # float32 [N, 1, 1, 2]
    label: np.ndarray  # int32 [N]
    labeled: np.ndarray  # int32 [L]: numbers of the labeled points


def run(config: ml_collections.ConfigDict, seeds: range, numbers: dict | None = None) -> dict:
    """Trains a config from every seed.

    A seed draws its own points, labels, weights, order and views.

    Args:
      config: complete.
      seeds: S of them; config.seed and config.source.seed are not used.
      numbers: {dotted path: [M]}: M settings of these numbers of the config, each trained
        from every seed; only numbers that are free within a compiled program.

    Returns:
      {network: (accuracy on all points, probability of class 1 on report.GRID)}, shaped
      [S] and [S, G], or [M, S] and [M, S, G].
    """

    def train(numbers, seed, moons):
        chosen = _fill(config, numbers)
        learner = make_algorithm(chosen)
        return measure(learner, fit(chosen, learner, seed, moons), moons)

    over_seeds = jax.vmap(train, (None, 0, 0))
    over_all = jax.vmap(over_seeds, (0, None, None)) if numbers else over_seeds
    result = jax.jit(over_all)(numbers or {}, np.array(seeds), draw(config, seeds))
    return jax.tree.map(np.asarray, result)


def draw(config: ml_collections.ConfigDict, seeds: range) -> Moons:
    """The points of every seed, [S, ...]."""
    moons = []
    for seed in seeds:
        pool = configs.build('data', dict(config.source) | {'seed': seed}).train
        labeled = splits.draw(pool.label, config.split.labels, seed=seed).labeled
        image = pool.read(np.arange(len(pool.label)))
        moons.append(Moons(image, pool.label, labeled.astype(np.int32)))
    return jax.tree.map(lambda *leaves: np.stack(leaves), *moons)


def make_algorithm(config: ml_collections.ConfigDict) -> Algorithm:
    """The algorithm with its networks, as a training run builds it."""
    definitions = {
        role: network.Definition(
            configs.build('models', net.model, num_classes=2),
            configs.build('optimizers', net.optimizer, steps=config.steps),
        )
        for role, net in config.networks.items()
    }
    return configs.build('algorithms', config.algorithm, **definitions)


def fit(config: ml_collections.ConfigDict, learner: Algorithm, seed: jax.Array, moons: Moons):
    """The state after config.steps steps: all labeled points, some unlabeled ones, each step."""
    views = configs.build('augment', config.views)
    root, order = jax.random.split(jax.random.key(seed))
    labeled = {
        'image': moons.image[moons.labeled],
        'label': moons.label[moons.labeled],
        'index': moons.labeled,
    }

    def batch(step):
        index = jax.random.randint(
            jax.random.fold_in(order, step), (config.batch.unlabeled,), 0, len(moons.label)
        )
        unlabeled = {'image': moons.image[index], 'index': index}
        return batches.view(views, {'labeled': labeled, 'unlabeled': unlabeled}, root, step)

    def update(state, step):
        key = stream.derive(root, step, 'update')
        return learner.update(state, batch(step), step, key)[0], None

    sizes = algorithms.Sizes(len(moons.label), len(moons.label), 2)
    state = learner.init(stream.derive(root, 0, 'init'), batch(0), sizes)
    return jax.lax.scan(update, state, jnp.arange(config.steps))[0]


def measure(learner: Algorithm, state, moons: Moons) -> dict:
    """{network: (accuracy on all points, probability of class 1 on report.GRID)}."""
    on_points = algorithms.predict(learner, state, moons.image)
    on_grid = algorithms.predict(learner, state, report.GRID.reshape(-1, 1, 1, 2))
    return {
        name: (
            jnp.mean(jnp.argmax(on_points[name].logits, -1) == moons.label),
            jax.nn.softmax(on_grid[name].logits)[:, 1],
        )
        for name in on_points
    }


def _fill(config, numbers):
    filled = config.to_dict()
    for path, value in numbers.items():
        *sections, last = path.split('.')
        node = filled
        for section in sections:
            node = node[section]
        node[last] = value
    return ml_collections.ConfigDict(filled)
