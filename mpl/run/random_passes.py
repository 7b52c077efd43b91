"""Passes of trained networks over the pool that are random: over views, or with dropout masks."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from mpl.algorithms import interface as algorithms
from mpl.data import cropping
from mpl.models import layers
from mpl.models import network as networks
from mpl.models.network import Outputs
from mpl.parallel import sharding
from mpl.run.experiment import Experiment


class RandomPass(NamedTuple):
    """One pass. Crops are drawn by example; the key that `forward` gets is of a chunk of examples."""

    key: jax.Array
    read: Callable[[np.ndarray], Any]  # indices int [n] of the training pool -> arrays [n, ...]
    forward: Callable[..., dict[str, Outputs]]  # (key, state, those arrays) -> outputs by network


def with_dropout(experiment: Experiment, key: jax.Array, n: int) -> RandomPass:
    """Plain images with random dropout masks; n: not used, the key differs from pass to pass."""

    def forward(key, state, image):
        view = experiment.views.evaluate(image)
        return {
            name: networks.predict_with_dropout(frozen, view, key)
            for name, frozen in experiment.algorithm.networks(state).items()
        }

    return RandomPass(key, experiment.source.train.read, _compile(experiment, forward))


def of_view(experiment: Experiment, key: jax.Array, n: int) -> RandomPass:
    """Random weak views of the images; of rules without weak views, the views number n in turn."""

    def predict(state, view):
        return algorithms.predict(experiment.algorithm, state, view)

    return _over_views(experiment, key, n, predict)


def of_projections(experiment: Experiment, key: jax.Array, n: int) -> RandomPass:
    """As `of_view`, with the output of the network's projector, of length 1, in place of logits."""

    def predict(state, view):
        heads = experiment.algorithm.heads(state)
        found = {}
        for name, frozen in experiment.algorithm.networks(state).items():
            features = networks.predict(frozen, view).features
            head = heads['projector' + name.removeprefix('student')]
            found[name] = Outputs(features, layers.unit(networks.predict(head, features).logits))
        return found

    return _over_views(experiment, key, n, predict)


def _over_views(experiment, key, n, predict):
    # The boxes of crops are drawn on the host, for each example from its own index.
    pipeline = experiment.pipeline._replace(seed=int(jax.random.bits(key)))

    def read(indices):
        bits = jax.tree.map(
            lambda drawn: drawn[:, 0],
            cropping.bits(pipeline.views, pipeline.seed, 'unlabeled', indices, 1),
        )
        return cropping.images(pipeline.source, pipeline.views, 'unlabeled', indices, bits)

    def forward(key, state, part):
        part = cropping.apply(experiment.views, 'unlabeled', part)
        return predict(state, _choose(experiment.views.unlabeled(key, part['image']), n))

    return RandomPass(key, read, _compile(experiment, forward))


def _choose(views: Mapping[str, jax.Array], n: int) -> jax.Array:
    """The weak view, or the n-th of the large ones in turn."""
    if 'weak' in views:
        return views['weak']
    large = [name for name in views if name.startswith('view_')]
    return views[f'view_{n % len(large)}']


def _compile(experiment, forward):
    return jax.jit(forward, out_shardings=sharding.replicated(experiment.mesh))


# By active.logits: the name of a pass in files and records, and what makes pass n from its key.
MAKES = {
    'views': ('view', of_view),
    'dropout': ('dropout', with_dropout),
    'projections': ('projection', of_projections),
}
