"""Builds the parts of a run from its config and checks that they fit, before anything is compiled."""

import re
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
from mpl.models.lora import Lora
from mpl.optimizers import parts
from mpl.parallel import sharding
from mpl.run import checks, split_files
from mpl.run import config as configs

VIEW = re.compile(
    r'weak|strong|color|(view|small)_\d+'
)  # the names of views, see interface.Algorithm


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
    logits: np.ndarray | None = None  # [N, K], of a teacher for the training pool

    @property
    def pipeline(self) -> batches.Pipeline:
        """Everything that its batches are made from."""
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
      source: that of the config with split.unlabeled_only applied, if it is loaded already.
      split: that of the config, if it is made already.

    Raises:
      ValueError: a part refuses its values, or two parts do not fit.
    """
    devices = jax.devices() if devices is None else devices
    mesh = sharding.make_mesh(devices, config.mesh.model)
    checks.check_values(config, mesh)
    if source is None:
        source = read_source(config)
    split, views, definitions, algorithm = build(config, source, mesh, split)
    damage.check(source, split)
    checks.check_probe(config, source, split)
    pipeline = _pipeline(config, source, split, views, mesh)
    batch = jax.eval_shape(lambda: batches.zeros(pipeline, has_teacher(config)))
    init = partial(algorithm.init, sizes=_sizes(source, split))
    try:
        shapes = jax.eval_shape(init, jax.random.key(0), batch)
        update = jax.make_jaxpr(algorithm.update)(shapes, batch, 0, jax.random.key(0))
    except KeyError as error:
        sentence = _explain(error.args[0], config, batch)
        if sentence is None:
            raise
        raise ValueError(f'algorithm {config.algorithm.name} {sentence}') from error
    checks.check_views(config, shapes, batch, update)
    checks.check_evaluation(algorithm, shapes, source, views, config.batch.evaluate)
    shardings = sharding.layout(shapes, mesh, config.mesh.weights)
    state = jax.tree.map(
        lambda s, p: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=p), shapes, shardings
    )
    return Experiment(config, source, split, views, definitions, algorithm, mesh, batch, state)


def _explain(missing: Any, config: ConfigDict, batch: dict) -> str | None:
    """What an algorithm looked up that a batch does not have; None for a key of something else."""
    if missing == 'logits':
        return (
            "learns from a teacher's logits, but the batch has none; give teacher.config, "
            'teacher.workdir or teacher.logits (and with labeled images no views.mix).'
        )
    if missing in ('labeled', 'unlabeled'):
        return f'learns from {missing!r} images, but batch.{missing} is 0; give a number above 0.'
    if isinstance(missing, str) and VIEW.fullmatch(missing):
        found = [name for name, view in batch['unlabeled'].items() if view.ndim == 4]
        return (
            f'takes the view {missing!r} of unlabeled images, but views.name {config.views.name!r} '
            f"gives {', '.join(found)}; set views.name to 'images' (weak and strong), 'pairs' (view_0, "
            "view_1 and so on, as many as views.parts) or 'colorization'."
        )
    return None


def read_source(config: ConfigDict) -> Source:
    """The data set of a config, without the labels of the classes in split.unlabeled_only.

    Raises:
      ValueError: it cannot be read with these values.
    """
    source = configs.build('data', config.source)
    return open_set.hide(source, config.split.unlabeled_only)


def build(
    config: ConfigDict, source: Source, mesh: Mesh, split: splits.Split | None = None
) -> tuple[splits.Split, Views, dict[str, network.Definition], Algorithm]:
    """Split, views, networks by role and algorithm of a run; each checks its own values.

    Raises:
      ValueError: a part refuses its values.
    """
    split = split_files.make(config, source) if split is None else split
    views = configs.build('augment', config.views)
    if views.mix is not None:
        views = views._replace(mix=partial(views.mix, classes=len(source.classes)))
    definitions = {
        role: network.Definition(
            configs.build('models', net.model, num_classes=len(source.classes)),
            configs.build('optimizers', net.optimizer, steps=config.steps),
            mesh.abstract_mesh,
            net.evaluation_mode,
            lora=Lora(**net.lora),
            hold=partial(
                parts.hold,
                trained=parts.names(net.optimizer.backbone_rate, net.optimizer.trained),
            ),
        )
        for role, net in config.networks.items()
    }
    algorithm = configs.build('algorithms', config.algorithm, **definitions)
    return split, views, definitions, algorithm


def initialize(experiment: Experiment, starts: dict[str, network.Variables] = {}) -> Any:
    """The state before the first step, on the devices.

    Args:
      experiment: the run.
      starts: by role, initial weights of networks that are not initialized randomly.
    """
    shardings = jax.tree.map(lambda s: s.sharding, experiment.state)
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), experiment.batch)
    sizes = _sizes(experiment.source, experiment.split)

    def init(key, batch, starts):  # Arguments, not constants of the program.
        definitions = {
            role: definition._replace(start=starts.get(role))
            for role, definition in experiment.definitions.items()
        }
        algorithm = configs.build('algorithms', experiment.config.algorithm, **definitions)
        return algorithm.init(key, batch, sizes)

    root = jax.random.key(experiment.config.seed)
    return jax.jit(init, out_shardings=shardings)(stream.derive(root, 0, 'init'), zeros, starts)


def validation(experiment: Experiment) -> tuple[Pool, np.ndarray]:
    """The pool of the validation examples, and their indices."""
    if experiment.source.validation is not None:
        pool = experiment.source.validation
        return pool, np.arange(len(pool.label))
    return experiment.source.train, experiment.split.validation


def has_head(config: ConfigDict) -> bool:
    """Whether the last layers of the networks are trained: by labels, or by a teacher's logits."""
    return bool(config.batch.labeled) or has_teacher(config)


def labeled_counts(experiment: Experiment) -> np.ndarray:
    """Number of labeled examples per class, int [K]."""
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
    """Whether a teacher labels the training examples before this run."""
    return bool(config.teacher.config or config.teacher.workdir or config.teacher.logits)
