"""Checks of a run's values and shapes that need no compiled program."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mpl.algorithms import interface
from mpl.algorithms.interface import Algorithm
from mpl.augment.views import Views
from mpl.data.source import Source
from mpl.run.trackers import interface as trackers


def check_values(config: ConfigDict, mesh: Mesh) -> None:
    """Refuses batch sizes, a seed, a tracker and numbers of steps that are out of range.

    Raises:
      ValueError: names the key, its value and the allowed range.
    """
    shards = mesh.shape['data']
    for name, size in config.batch.items():
        if size < (0 if name == 'unlabeled' else 1) or size % shards:
            raise ValueError(
                f'batch.{name} is {size}; give a multiple of the {shards} '
                f'{"devices" if config.mesh.model == 1 else "groups of devices"}'
                + ('.' if name == 'unlabeled' else ' above 0.')
            )
    trackers.find(config.track)
    if not 0 <= config.seed < 2**31:
        raise ValueError(f'seed is {config.seed}; give a number from 0 to {2**31 - 1}.')
    for name, value in {
        'steps': config.steps,
        'steps_per_call': config.steps_per_call,
        **{f'every.{k}': v for k, v in config.every.items()},
    }.items():
        if value < 1:
            raise ValueError(f'{name} is {value}; give a number above 0.')


def check_evaluation(
    algorithm: Algorithm, state: Any, source: Source, views: Views, size: int
) -> None:
    """Refuses networks that cannot be applied to the images of the evaluation.

    Networks with a fixed image size must be trained on crops of the size that the source reads.

    Args:
      algorithm: of the run.
      state: as jax.ShapeDtypeStructs.
      source: of the images.
      views: of the run.
      size: of an evaluation batch.

    Raises:
      ValueError: names both sizes.
    """
    shape = source.image_shape
    if views.crop is None or shape[:2] == (views.crop.size, views.crop.size):
        return
    image = jax.ShapeDtypeStruct((size, *shape), np.uint8)
    try:
        jax.eval_shape(
            lambda s, x: interface.predict(algorithm, s, views.evaluate(x)), state, image
        )
    except Exception as error:  # Models raise errors of many types.
        raise ValueError(
            f'views.size is {views.crop.size}, but the source reads images of {shape[0]} x {shape[1]} '
            f'for evaluation, which the networks can not take: {error}; give both one size.'
        ) from error
