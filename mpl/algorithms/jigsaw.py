"""Jigsaw puzzles (Noroozi and Favaro, arXiv 1603.09246)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses, pretext, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models import network
from mpl.models.network import Definition


def make(
    student: Definition,
    classifier: Definition,
    tile: int,
    grid: int = 3,
    permutations: int = 100,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """In which order the tiles of an image are: one of a fixed set of permutations.

    The trunk has one tile at a time, the head the features of all tiles side by side. The trunk must take
    images of any size, which excludes those that flatten positions, and its features are those of small
    pieces. Random tiles within their cells, each standardized by itself, and views with gray images
    (views.first.grayscale) keep it from edges and color fringes.

    Args:
      student: the trunk.
      classifier: the head, one output for each permutation.
      tile: height and width of a tile, in pixels, less than a cell, for gaps between tiles.
      grid: cells in each direction.
      permutations: their number, see pretext.permutations.
      ema_decay, labeled_weight, probe_rate: as in rotation.py.

    Raises:
      ValueError: more permutations than there are, or tiles larger than cells.
    """
    if grid not in (2, 3):
        raise ValueError(f'algorithm.grid is {grid}; give 2 or 3.')
    order = pretext.permutations(grid * grid, permutations)
    chain = {'student': student, 'classifier': classifier}

    def loss(params, state, batch, step, key):
        (image,) = pretraining.views(batch, 'view_0')
        tile_key, label_key, key, head_key = jax.random.split(key, 4)
        label = jax.random.randint(label_key, (len(image),), 0, permutations)
        tiles = pretext.cut_tiles(tile_key, image, grid, tile)
        tiles = jnp.take_along_axis(tiles, jnp.asarray(order)[label][:, :, None, None, None], 1)
        stats = pretraining.statistics(state)
        outputs, stats['student'] = network.forward(
            student,
            params['student'],
            stats['student'],
            key,
            *(tiles[:, place] for place in range(grid * grid)),
        )
        features = jnp.concatenate([one.features for one in outputs], -1)
        (found,), stats['classifier'] = network.forward(
            classifier, params['classifier'], stats['classifier'], head_key, features
        )
        pretext.check_outputs(found.logits, permutations, 'one for each permutation')
        accuracy = losses.accuracy(found.logits, label)
        value = losses.cross_entropy(found.logits, label)
        return value, (stats, (), {'accuracy/permutations': accuracy})

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels, repeats=grid * grid)
