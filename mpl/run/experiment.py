"""A config made into parts that fit together; everything is checked here, before any compile."""

import math
import os
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from ml_collections import ConfigDict

from mpl.algorithms import interface as algorithms
from mpl.algorithms.interface import Algorithm
from mpl.augment.views import Views
from mpl.data import batches, damage, open_set, splits, stream
from mpl.data.source import Pool, Source
from mpl.models import network
from mpl.parallel import sharding
from mpl.run import config as configs
from mpl.run import paths, split_files


class Experiment(NamedTuple):
    """The parts of a run."""

    config: ConfigDict
    source: Source
    split: splits.Split
    views: Views
    definitions: dict[str, network.Definition]  # by the role of the network
    algorithm: Algorithm
    mesh: Mesh
    batch: Any  # of one step, as jax.ShapeDtypeStructs
    state: Any  # as jax.ShapeDtypeStructs with shardings
    logits: np.ndarray | None = None  # [N, K] of the training pool, of a teacher

    @property
    def pipeline(self) -> batches.Pipeline:
        """What its batches are made of."""
        return _pipeline(self.config, self.source, self.split, self.views, self.mesh, self.logits)


def assemble(
    config: ConfigDict,
    devices: Sequence[jax.Device] | None = None,
    source: Source | None = None,
    split: splits.Split | None = None,
) -> Experiment:
    """Builds every part of a run and checks that they fit.

    Args:
      config: of the run.
      devices: to run on; None takes all.
      source: that of the config, where it is at hand already, less split.unlabeled_only.
      split: that of the config, where it is at hand already.

    Raises:
      ValueError: a part refuses its numbers, or two parts do not fit.
    """
    devices = jax.devices() if devices is None else devices
    mesh = sharding.make_mesh(devices, config.mesh.model)
    _check_numbers(config, mesh)
    if source is None:
        source = read_source(config)
    split, views, definitions, learner = build(config, source, mesh, split)
    damage.check(source, split)
    pipeline = _pipeline(config, source, split, views, mesh)
    batch = jax.eval_shape(lambda: batches.zeros(pipeline, has_teacher(config)))
    init = partial(learner.init, sizes=_sizes(source, split))
    shapes = jax.eval_shape(init, jax.random.key(0), batch)
    try:
        jax.eval_shape(learner.update, shapes, batch, 0, jax.random.key(0))
    except KeyError as error:
        if error.args == ('logits',):
            raise ValueError(
                f"algorithm {config.algorithm.name} learns from a teacher's logits, but the batch has "
                'none; give teacher.config or teacher.workdir (and with labeled images no views.mix).'
            ) from error
        if error.args != ('unlabeled',):
            raise
        raise ValueError(
            f'algorithm {config.algorithm.name} learns from {error} images, but '
            f'batch.{error.args[0]} is 0; give a number above 0.'
        ) from error
    _check_evaluation(learner, shapes, source, views, config.batch.evaluate)
    places = sharding.layout(shapes, mesh, config.mesh.weights)
    state = jax.tree.map(
        lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, places
    )
    return Experiment(config, source, split, views, definitions, learner, mesh, batch, state)


def read_source(config: ConfigDict) -> Source:
    """The data set of a config, less the labels of split.unlabeled_only.

    Raises:
      ValueError: it is not there, or not as the config says.
    """
    source = configs.build('data', config.source)
    return open_set.hide(source, config.split.unlabeled_only)


def build(
    config: ConfigDict, source: Source, mesh: Mesh, split: splits.Split | None = None
) -> tuple[splits.Split, Views, dict[str, network.Definition], Algorithm]:
    """Split, views, networks by role and algorithm of a run, each of which checks its own numbers.

    Raises:
      ValueError: a part refuses its numbers.
    """
    split = make_split(config, source) if split is None else split
    views = configs.build('augment', config.views)
    if views.mix is not None:
        views = views._replace(mix=partial(views.mix, classes=len(source.classes)))
    definitions = {
        role: network.Definition(
            configs.build('models', net.model, num_classes=len(source.classes)),
            configs.build('optimizers', net.optimizer, steps=config.steps),
            mesh.abstract_mesh,
            net.evaluation_mode,
        )
        for role, net in config.networks.items()
    }
    learner = configs.build('algorithms', config.algorithm, **definitions)
    return split, views, definitions, learner


def initialize(experiment: Experiment, starts: dict[str, network.Variables] = {}) -> Any:
    """The state before the first step, on the devices.

    Args:
      experiment: the run.
      starts: by role, the weights of networks that do not start from random ones.
    """
    places = jax.tree.map(lambda s: s.sharding, experiment.state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), experiment.batch)
    sizes = _sizes(experiment.source, experiment.split)

    def init(key, batch, starts):  # Arguments, since a program would be as large as its constants.
        definitions = {
            role: definition._replace(start=starts.get(role))
            for role, definition in experiment.definitions.items()
        }
        learner = configs.build('algorithms', experiment.config.algorithm, **definitions)
        return learner.init(key, batch, sizes)

    root = jax.random.key(experiment.config.seed)
    return jax.jit(init, out_shardings=places)(stream.derive(root, 0, 'init'), zeros, starts)


def check_memory(experiment: Experiment) -> None:
    """Refuses a run that no device of this process has the memory for.

    Counts what is there for certain: the state, and the images of a step or of one call of the
    evaluation. A step takes more, see `mpl.plan`.

    Raises:
      ValueError: they take more than a device has.
    """
    limit = _device_memory()
    shards = experiment.mesh.shape['data']
    state = sum(
        math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
        for leaf in jax.tree.leaves(experiment.state)
    )
    step = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(experiment.batch))
    evaluated = 4 * experiment.config.batch.evaluate * math.prod(experiment.source.image_shape)
    needed = state + max(step, evaluated) // shards
    if limit is not None and needed > limit:
        raise ValueError(
            f'The run takes at least {needed / 2**30:,.1f} GiB of each device ({state / 2**30:,.1f} '
            f'GiB of weights and the like, the rest images), but there are {limit / 2**30:,.1f} GiB; '
            'give smaller networks or batches, or more devices.'
        )


def _device_memory():
    """Bytes of memory of each device of this process; None where that is not known."""
    device = jax.local_devices()[0]
    if device.platform == 'cpu':
        host = os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES')
        return host // jax.local_device_count()
    stats = device.memory_stats()
    return stats['bytes_limit'] if stats and 'bytes_limit' in stats else None


def validation(experiment: Experiment) -> tuple[Pool, np.ndarray]:
    """The pool that holds the validation examples, and their numbers in it."""
    if experiment.source.validation is not None:
        pool = experiment.source.validation
        return pool, np.arange(len(pool.label))
    return experiment.source.train, experiment.split.validation


def labeled_counts(experiment: Experiment) -> np.ndarray:
    """Labeled examples of each class, int [K]."""
    label = experiment.source.train.label[experiment.split.labeled]
    return np.bincount(label, minlength=len(experiment.source.classes))


def _pipeline(config, source, split, views, mesh, logits=None):
    return batches.Pipeline(
        source, split, views, config.batch, config.seed, mesh, config.resident_bytes, logits
    )


def _sizes(source, split):
    distinct = len(np.unique(split.unlabeled))
    return algorithms.Sizes(len(source.train.label), distinct, len(source.classes))


def has_teacher(config: ConfigDict) -> bool:
    """Whether a teacher labels the training examples before the run."""
    return bool(config.teacher.config or config.teacher.workdir)


def make_split(config: ConfigDict, source: Source) -> splits.Split:
    """The split of a run, drawn or read from split.file.

    Raises:
      ValueError: the section is not allowed, or the data have too few examples for it.
    """
    if config.split.validation and source.validation is not None:
        raise ValueError(
            f'split.validation is {config.split.validation}, but the source has a validation part '
            'of its own; set it to 0.'
        )
    if config.split.file:
        if config.split.labels or config.split.validation or config.split.imbalance != 1:
            raise ValueError(
                'split.file says which examples to take; set labels and validation to 0, '
                'imbalance to 1.'
            )
        split = split_files.load(paths.parse(config.split.file, 'split.file'), source)
    else:
        split = _draw(config, source)
    for name in ('labeled', 'unlabeled'):
        if config.batch[name] and not len(getattr(split, name)):
            raise ValueError(
                f'batch.{name} is {config.batch[name]}, but the split has no {name} examples; '
                'set it to 0, or change the split.'
            )
    return split


def _draw(config, source):
    return splits.draw(
        source.train.label,
        config.split.labels,
        config.split.validation,
        config.seed,
        config.split.unlabeled_includes_labeled,
        source.classes,
        config.split.imbalance,
    )


def _check_numbers(config, mesh):
    shards = mesh.shape['data']
    for name, size in config.batch.items():
        if size < (0 if name == 'unlabeled' else 1) or size % shards:
            raise ValueError(
                f'batch.{name} is {size}; give a multiple of the {shards} '
                f'{"devices" if config.mesh.model == 1 else "groups of devices"}'
                + ('.' if name == 'unlabeled' else ' above 0.')
            )
    if not 0 <= config.seed < 2**31:
        raise ValueError(f'seed is {config.seed}; give a number from 0 to {2**31 - 1}.')
    for name, number in {
        'steps': config.steps,
        'steps_per_call': config.steps_per_call,
        **{f'every.{k}': v for k, v in config.every.items()},
    }.items():
        if number < 1:
            raise ValueError(f'{name} is {number}; give a number above 0.')


def _check_evaluation(learner, state, source, views, size):
    """Networks that take images of one size only train on views of that size."""
    shape = source.image_shape
    if views.crop is None or shape[:2] == (views.crop.size, views.crop.size):
        return
    image = jax.ShapeDtypeStruct((size, *shape), np.uint8)
    try:
        jax.eval_shape(lambda s, x: algorithms.predict(learner, s, views.evaluate(x)), state, image)
    except Exception as error:  # Models refuse shapes in their own ways.
        raise ValueError(
            f'views.size is {views.crop.size}, but the source reads images of {shape[0]} x {shape[1]} '
            f'for evaluation, which the networks can not take: {error}; give both one size.'
        ) from error
