"""Checks of a run's values and shapes that need no compiled program."""

import re
from typing import Any

import jax
import jax.extend
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mpl.algorithms import interface
from mpl.algorithms.interface import Algorithm
from mpl.augment.views import Views
from mpl.data.source import Source
from mpl.data.splits import Split
from mpl.run.trackers import interface as trackers


def check_seed(seed: int) -> None:
    """Raises ValueError if the seed is not from 0 to 2^31 - 1."""
    if not 0 <= seed < 2**31:
        raise ValueError(f'seed is {seed}; give a number from 0 to {2**31 - 1}.')


def check_values(config: ConfigDict, mesh: Mesh) -> None:
    """Refuses a config for mpl.active, and values that are out of range or not known.

    Raises:
      ValueError: names the key, its value and the allowed range.
    """
    if config.active.rule:
        raise ValueError(
            f'active.rule is {config.active.rule.name!r}: the config is of several runs, which '
            'python -m mpl.active trains; for a single one leave the section active out.'
        )
    shards = mesh.shape['data']
    for name, size in config.batch.items():
        if size < (1 if name == 'evaluate' else 0) or size % shards:
            raise ValueError(
                f'batch.{name} is {size}; give a multiple of the {shards} '
                f'{"devices" if config.mesh.model == 1 else "groups of devices"}'
                + (' above 0.' if name == 'evaluate' else '.')
            )
    if not config.batch.labeled and not config.batch.unlabeled:
        raise ValueError(
            'batch.labeled and batch.unlabeled are 0; give one of them a number above 0.'
        )
    for role, net in config.networks.items():
        _check_lora(f'networks.{role}', net)
    trackers.find(config.track)
    check_seed(config.seed)
    for name, value in {
        'steps': config.steps,
        'steps_per_call': config.steps_per_call,
        **{f'every.{k}': v for k, v in config.every.items()},
    }.items():
        if value < 1:
            raise ValueError(f'{name} is {value}; give a number above 0.')
    if 'ema_steps' in config.algorithm and 0 < config.algorithm.ema_steps < config.steps:
        raise ValueError(
            f'algorithm.ema_steps is {config.algorithm.ema_steps} and steps is {config.steps}: the target network '
            f'would not change after step {config.algorithm.ema_steps}; give {config.steps} or more, or 0 for a '
            'constant decay.'
        )


def _check_lora(where, net):
    """Refuses adapters that are not trained, or are trained beside the weights that they adapt."""
    lora, trained = net.lora, net.optimizer.trained
    if lora.rank < 0 or not lora.alpha > 0:
        raise ValueError(
            f'{where}.lora has rank {lora.rank} and alpha {lora.alpha}; give a rank of 0 (none) or more, '
            'and alpha above 0.'
        )
    if lora.rank and 'lora' not in trained:
        raise ValueError(
            f'{where}.lora.rank is {lora.rank}, but {where}.optimizer.trained is {trained or "all"}; set '
            "it to ('lora', 'head') to train the adapters and the last layer, or lora.rank to 0."
        )


def check_crops(source: Source, views: Views) -> None:
    """Refuses crops for each view that are larger than images of one size, which would be enlarged.

    Raises:
      ValueError: names both sizes.
    """
    if views.crops is None or source.train.crop is not None:
        return
    height, width, _ = source.image_shape
    for name, crop in views.crops.items():
        if crop.size > min(height, width):
            raise ValueError(
                f'The crops of {name} have {crop.size} pixels, more than the images of {height} x {width}; '
                f'give views.size (small crops: views.small_size) of at most {min(height, width)}.'
            )


def check_views(
    config: ConfigDict, state: Any, batch: dict, update: jax.extend.core.ClosedJaxpr
) -> None:
    """Refuses numbered views of unlabeled images, such as view_2, that the algorithm does not use.

    Of 'weak' and 'strong', which are made together, one may be idle.

    Args:
      config: of the run.
      state, batch: as jax.ShapeDtypeStructs.
      update: of the algorithm, by jax.make_jaxpr.

    Raises:
      ValueError: names the views.
    """
    views = [name for name in batch.get('unlabeled', {}) if re.fullmatch(r'\w+_\d+', name)]
    arguments = iter(update.jaxpr.invars[len(jax.tree.leaves(state)) :])
    given = jax.tree.map(lambda leaf: next(arguments), batch)
    used = {id(var) for equation in update.jaxpr.eqns for var in equation.invars}
    idle = [name for name in views if id(given['unlabeled'][name]) not in used]
    if idle:
        raise ValueError(
            f'algorithm {config.algorithm.name} does not use {", ".join(idle)} of '
            f'{", ".join(views)}; give a smaller views.parts or views.small_parts.'
        )


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
            f'for evaluation, which the networks cannot take: {error}; give both one size.'
        ) from error


def check_probe(config: ConfigDict, source: Source, split: Split) -> None:
    """Refuses a section `probe` that the data cannot be probed with.

    Raises:
      ValueError: names the key and the allowed values.
    """
    probe = config.probe
    for name in ('every', 'neighbors', 'bank'):
        if probe[name] < (0 if name == 'every' else 1):
            raise ValueError(
                f'probe.{name} is {probe[name]}; give a number above 0 (every=0: none).'
            )
    if probe.labels not in ('split', 'all'):
        raise ValueError(f"probe.labels is {probe.labels!r}; give 'split' or 'all'.")
    if not probe.every:
        return
    held_out = split.validation if source.validation is None else source.validation.label
    if not len(held_out):
        raise ValueError(
            f'probe.every is {probe.every}, but there are no validation images to probe; set '
            'split.validation, or probe.every to 0.'
        )
    bank = min(probe.bank, len(find_labels(source, split, probe.labels)))
    check_neighbors(probe.neighbors, bank)


def find_labels(source: Source, split: Split, labels: str) -> np.ndarray:
    """The labeled images that a probe is given, ascending indices into the training pool.

    Args:
      source: of the images.
      split: of the training.
      labels: 'split' for the labeled images of the split, 'all' for all training images that have a
        label and are not held out.

    Raises:
      ValueError: there are none.
    """
    examples = np.union1d(split.labeled, split.unlabeled)
    known = examples[source.train.label[examples] >= 0]
    if not len(known):
        raise ValueError(
            'No training image of the run has a label, so nothing can be probed; give labels to some '
            'of them, or use mpl.predict --features.'
        )
    if labels == 'split' and not len(split.labeled):
        raise ValueError("The split of the run has no labels to probe with; take 'all' labels.")
    return np.unique(split.labeled) if labels == 'split' else known


def check_neighbors(neighbors: int, bank: int) -> None:
    """Refuses more nearest neighbors than there are labeled images.

    Raises:
      ValueError: names both numbers.
    """
    if neighbors > bank:
        raise ValueError(
            f'neighbors is {neighbors}, but there are {bank} labeled training images to find them '
            f'among; give a number from 1 to {bank}, or more labels.'
        )
