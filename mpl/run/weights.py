"""Initial weights of a run: from another run, from a file or a repository of timm, or from its images."""

import importlib
import inspect
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath
from ml_collections import ConfigDict

from mpl.data import stream
from mpl.models import network, projected
from mpl.models.network import Variables
from mpl.parallel import processes
from mpl.run import folders, hub, identity, paths, sections
from mpl.run.experiment import Experiment

PIXELS = 2**20  # of the images for `from_images`


def check_section(config: ConfigDict) -> None:
    """Refuses inconsistent keys of the section `init_from`.

    Raises:
      ValueError: names the keys.
    """
    start = config.init_from
    if start.head not in ('keep', 'new'):
        raise ValueError(f"init_from.head is {start.head!r}; give 'keep' or 'new'.")
    given = [key for key in ('config', 'workdir', 'file', 'hub') if start[key]]
    if len(given) > 1:
        raise ValueError(f'init_from has both a {given[0]} and a {given[1]}; give one of them.')
    for role in start.networks:
        if role not in config.networks:
            raise ValueError(
                f'init_from.networks has {role!r}; this run has {", ".join(config.networks)}.'
            )
    if start.projector < 0 or start.projector and (start.file or start.hub or start.head == 'keep'):
        raise ValueError(
            f'init_from.projector is {start.projector}; it is a number of layers of the projector of a '
            "run: give init_from.config or workdir, and set init_from.head to 'new'."
        )
    for role in _roles(config) if start.projector else ():
        if 'trunk' not in config.networks[role].model:
            raise ValueError(
                f'init_from.projector is {start.projector}, but networks.{role}.model is '
                f'{config.networks[role].model.name!r}, without a place for these layers; give '
                "name='projected', with this model as its trunk."
            )


def check(experiment: Experiment, other: Experiment) -> None:
    """Refuses a run whose weights will not fit, before it is trained.

    Args:
      experiment: the run that starts from them.
      other: the run of init_from.config.

    Raises:
      ValueError: see `find`.
    """
    start = experiment.config.init_from
    found = jax.eval_shape(lambda state: _variables(start, other, state), other.state)
    for role in _roles(experiment.config):
        jax.eval_shape(lambda found, role=role: _fit(experiment, role, found), found)
    _check_classes(experiment, other.source.classes)


def find(experiment: Experiment, stage: epath.Path | None = None) -> dict[str, Variables]:
    """The weights of init_from, by the role of the network; empty if it has no source.

    They are checked against the network of the role. With init_from.head='new' they are
    without 'head', the only layer whose shape depends on the classes.

    Args:
      experiment: the run.
      stage: the folder of the run of init_from.config, which is finished.

    Raises:
      ValueError: unknown run, network or file, or weights of another architecture.
    """
    start = experiment.config.init_from
    check_section(experiment.config)
    roles = _roles(experiment.config)
    if start.config or start.workdir:
        folder = (
            stage if start.config else epath.Path(paths.parse(start.workdir, 'init_from.workdir'))
        )
        other, state, _ = folders.load_networks(folder)
        found = jax.device_get(_variables(start, other, state))
        fitted = {role: _fit(experiment, role, found) for role in roles}
        _check_classes(experiment, other.source.classes)
        return fitted
    if start.file or start.hub:
        file = hub.fetch(start.hub) if start.hub else _find_file(start.file)
        tensors = _read_file(file)
        warning = hub.compare(file, experiment.config, experiment.source.image_shape)
        if warning:
            processes.print_line(warning)
        return {role: _fit(experiment, role, _load(experiment, role, tensors)) for role in roles}
    return {}


def from_images(experiment: Experiment, roles: Iterable[str]) -> dict[str, Variables]:
    """Variables of these roles that are computed from training images, where a model has any.

    Models with a function `start` have them. It gets training images of PIXELS pixels in all as the
    network gets them in evaluation; labels are not used.
    """
    modules = {role: _module(experiment, role) for role in roles}
    starts = {role: m.start for role, m in modules.items() if hasattr(m, 'start')}
    if not starts:
        return {}
    split, pool = experiment.split, experiment.source.train
    examples = np.union1d(split.labeled, split.unlabeled)
    height, width, _ = experiment.source.image_shape
    count = min(len(examples), max(1, PIXELS // (height * width)))
    index = stream.sample(experiment.config.seed, 'start', 0, count, examples)
    image = np.asarray(experiment.views.evaluate(jnp.asarray(pool.read(index))))
    return {role: Variables({}, start(image)['batch_stats']) for role, start in starts.items()}


def describe(experiment: Experiment, role: str, found: Variables) -> str:
    """A log line: the source of the weights of a role, and whether its head is new."""
    start, classes = experiment.config.init_from, len(experiment.source.classes)
    head = '' if 'head' in found.params else f', with a new head for {classes} classes'
    count = network.count_parameters(found.params)
    return f'{role} starts from {count:,} parameters of {_origin(start)}{head}.'


def _roles(config):
    """The networks that start from init_from: all that take images, if it names none."""
    if config.init_from.networks:
        return config.init_from.networks
    makes = {
        role: sections.find_module('models', net.model.name, role).make
        for role, net in config.networks.items()
    }
    return tuple(r for r, m in makes.items() if 'num_classes' in inspect.signature(m).parameters)


def _example(experiment: Experiment) -> jax.ShapeDtypeStruct:
    """The shape of labeled images or, without these, of the largest view, [B, H, W, C]."""
    if 'labeled' in experiment.batch:
        return experiment.batch['labeled']['image']
    return max(experiment.batch['unlabeled'].values(), key=lambda view: (view.ndim, view.shape))


def _variables(start: ConfigDict, other: Experiment, state: Any) -> Variables:
    """The weights of init_from.network of another run; with init_from.projector for a model 'projected'."""
    networks = other.algorithm.networks(state)
    if start.network not in networks:
        raise ValueError(
            f'init_from.network is {start.network!r}, but the run in {_origin(start)} has '
            f'{", ".join(networks)}.'
        )
    trunk = network.merge(networks[start.network])
    if not start.projector:
        return trunk
    name = 'projector' + start.network.removeprefix('student')
    heads = other.algorithm.heads(state)
    if name not in heads:
        raise ValueError(
            f'init_from.projector is {start.projector}, but the run in {_origin(start)} has no {name!r} '
            f'(it has {", ".join(heads) or "no heads"}); set it to 0, or choose another init_from.network.'
        )
    head = network.merge(heads[name])
    hidden = sum(layer.startswith('dense_') for layer in head.params) - 1
    if start.projector > hidden:
        raise ValueError(
            f'init_from.projector is {start.projector}, but the projector of the run in '
            f'{_origin(start)} has {hidden} hidden layers; give at most {hidden}.'
        )
    return projected.join(trunk, head, start.projector)


def _check_classes(experiment, classes):
    """Raises ValueError if the last layer is kept and the classes differ."""
    start, here = experiment.config.init_from, experiment.source.classes
    if start.head == 'keep' and classes != here:
        raise ValueError(
            f'init_from.head keeps the last layer of the run in {_origin(start)}, but its classes '
            f'are {identity.shorten(classes)} and here {identity.shorten(here)}; '
            "set init_from.head to 'new'."
        )


def _origin(start):
    """Where the weights of init_from are from, for a message."""
    return start.workdir or start.file or start.hub or 'init_from.config'


def _find_file(file: str) -> Path:
    return Path(paths.parse_local(file, 'init_from.file'))


def _read_file(file: Path) -> dict[str, np.ndarray]:
    """The weights in a file, float32; skips integer tensors."""
    try:
        tensors = safetensors.numpy.load_file(file)
    except Exception as error:  # A missing file, or an error of safetensors.
        raise ValueError(
            f'init_from.file {file} cannot be read ({error}); give a .safetensors file of weights '
            'with the names of timm.'
        ) from error
    return {
        name: tensor.astype(np.float32)
        for name, tensor in tensors.items()
        if jnp.issubdtype(tensor.dtype, jnp.floating)
    }


def _load(experiment: Experiment, role: str, tensors: dict[str, np.ndarray]) -> Variables:
    """The tensors of a file as the weights of the model of a role."""
    module = _module(experiment, role)
    if not hasattr(module, 'from_timm'):
        raise ValueError(
            f'networks.{role} cannot start from a file: {module.__name__} has no from_timm. '
            'Leave it out of init_from.networks, or choose another model.'
        )
    try:
        found = module.from_timm(experiment.definitions[role].model, tensors)
    except ValueError as error:
        raise ValueError(f'{_refusal(experiment, role)}: {error}') from error
    return Variables(found['params'], found.get('batch_stats', {}))


def _fit(experiment: Experiment, role: str, found: Variables) -> Variables:
    """The weights, without the head if it is new; raises ValueError if shapes differ."""
    found, new = _resize(experiment, role, found), experiment.config.init_from.head == 'new'
    if new:
        found = found.replace(params={k: v for k, v in found.params.items() if k != 'head'})
    made = jax.eval_shape(
        lambda key, image: network.create(experiment.definitions[role], key, image, 0.0),
        jax.random.key(0),
        _example(experiment),
    )
    params = {name: layer for name, layer in made.params.items() if name != 'lora'}  # always new
    here, there = _shapes(Variables(params, made.batch_stats)), _shapes(found)
    for name in sorted(here | there):
        is_head = name.startswith('params/head/')
        if here.get(name) != there.get(name) and not (new and is_head):
            raise ValueError(
                f'{_refusal(experiment, role)}: {name} is {there.get(name, "missing")} there and '
                f'{here.get(name, "missing")} here; '
                + ("set init_from.head to 'new'." if is_head else 'make the models the same.')
            )
    return found


def _resize(experiment: Experiment, role: str, found: Variables) -> Variables:
    """The weights resized for the images of this run, if the model has a `resize`."""
    module = _module(experiment, role)
    if not hasattr(module, 'resize'):
        return found
    image = _example(experiment)
    try:
        return found.replace(params=module.resize(found.params, image.shape[1:]))
    except (KeyError, ValueError) as error:
        raise ValueError(f'{_refusal(experiment, role)}: {error}') from error


def _refusal(experiment, role):
    start = experiment.config.init_from
    return f'networks.{role} cannot start from {_origin(start)}'


def _module(experiment: Experiment, role: str) -> ModuleType:
    return importlib.import_module(f'mpl.models.{experiment.config.networks[role].model.name}')


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    """The shape of every array, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): np.shape(leaf)
        for path, leaf in leaves
    }
