"""A trained network as a function of images that needs no run, no devices and no data set."""

import importlib
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from etils import epath

from mpl.augment.views import Views
from mpl.models import conv, network
from mpl.models.network import Variables
from mpl.run import config as configs
from mpl.run import evaluation, measure, provenance, schema, sections


class Model(NamedTuple):
    """A trained network and all that its predictions depend on.

    description: JSON-serializable. 'network': its name in the report. 'classes': their names.
    'image_shape': [H, W, C] of its input; 'dtype': of its input, uint8 with values from 0 to 255,
    or float32 for points; 'central': side of the center square of a file's image as a share of the
    short side; 'batch': images per batch in prediction; 'model', 'views', 'average_mirrored': of
    the config; 'made_by': the provenance of the weights.
    """

    description: dict
    variables: Variables


def read(workdir: epath.Path, name: str | None) -> Model:
    """A network of a finished run.

    Args:
      workdir: of the run.
      name: of the network in the report; None: see measure.result.

    Raises:
      ValueError: no finished run, or no such network.
    """
    stages = evaluation.load(workdir, images=False)
    name = name or evaluation.default_network(stages)
    stage, inner = evaluation.find_network(name, stages)
    experiment = stage.experiment
    frozen = experiment.algorithm.networks(stage.state)[inner]
    config, role = experiment.config, _role(experiment, frozen)
    description = {
        'network': name,
        'classes': list(experiment.source.classes),
        'image_shape': list(experiment.source.image_shape),
        'dtype': stage.data['dtype'],
        'central': experiment.source.central,
        'batch': config.batch.evaluate,
        'model': config.networks[role].model.to_dict(),
        'views': config.views.to_dict(),
        'average_mirrored': config.average_mirrored,
        'made_by': provenance.make(stage, name, None),
    }
    return Model(description, jax.device_get(network.merge(frozen)))


def make_forward(model: Model) -> Callable[[jax.Array], jax.Array]:
    """image [B, H, W, C] of the model's dtype -> logits float32 [B, K], as the run's own evaluation.

    Ordinary operations of XLA only; B may be symbolic.

    Raises:
      ValueError: the description has names or values that this version does not know.
    """
    frozen = network.Frozen(network.Definition(build(model.description), None), model.variables)
    views = build_views(model.description)

    def predict(image):
        return network.predict(frozen, views.evaluate(image)).logits

    def forward(image):
        logits = measure.average(predict, image, model.description['average_mirrored'])
        return logits.astype(jnp.float32)

    return conv.with_ordinary(forward)


def build(description: dict) -> Any:
    """The Linen module of a model's description."""
    spec = _complete(description, 'model', 'models')
    return configs.build('models', spec, num_classes=len(description['classes']))


def build_views(description: dict) -> Views:
    """The views of a model's description."""
    return configs.build('augment', _complete(description, 'views', 'augment'))


def find_module(description: dict) -> Any:
    """The file of mpl/models/ that has the network of a description."""
    return importlib.import_module(f'mpl.models.{description["model"]["name"]}')


def _complete(description, section, folder):
    """A section of the description; JSON's lists become the tuples of a config."""
    return sections.complete_named(folder, description[section], section, schema.RUNTIME[folder])


def _role(experiment, frozen):
    """The role of a network in the config."""
    return next(r for r, d in experiment.definitions.items() if d.model is frozen.definition.model)
