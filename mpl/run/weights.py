"""Initial weights of a run: from another run, from a file with timm's names, or from its images."""

import importlib
import inspect
from collections.abc import Iterable
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from etils import epath
from ml_collections import ConfigDict

from mpl.data import stream
from mpl.models import network
from mpl.models.network import Variables
from mpl.run import identity, paths, workdir
from mpl.run.experiment import Experiment

PIXELS = 2**20  # of the images for `from_images`


def find(experiment: Experiment) -> dict[str, Variables]:
    """The weights of init_from, by the role of the network; empty if it has no source.

    They are checked against the network of the role. With init_from.head='new' they are
    without 'head', the only layer whose shape depends on the classes.

    Raises:
      ValueError: unknown run, network or file, or weights of another architecture.
    """
    start = experiment.config.init_from
    if start.head not in ('keep', 'new'):
        raise ValueError(f"init_from.head is {start.head!r}; give 'keep' or 'new'.")
    if start.workdir and start.file:
        raise ValueError('init_from has both a workdir and a file; give one of them.')
    roles = start.networks or [r for r in experiment.definitions if _takes_images(experiment, r)]
    for role in roles:
        if role not in experiment.definitions:
            raise ValueError(
                f'init_from.networks has {role!r}; this run has '
                f'{", ".join(experiment.definitions)}.'
            )
    if start.workdir:
        found, classes = _read_run(start)
        fitted = {role: _fit(experiment, role, found) for role in roles}
        if start.head == 'keep' and classes != experiment.source.classes:
            raise ValueError(
                f'init_from.head keeps the last layer of the run in {start.workdir}, but its classes '
                f'are {identity.shorten(classes)} and here {identity.shorten(experiment.source.classes)}; '
                "set init_from.head to 'new'."
            )
        return fitted
    if start.file:
        tensors = _read_file(start.file)
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
    return f'{role} starts from {count:,} parameters of {start.workdir or start.file}{head}.'


def _read_run(start: ConfigDict) -> tuple[Variables, tuple[str, ...]]:
    """The weights of a network of another run, and its classes; does not load its data."""
    folder = epath.Path(paths.parse(start.workdir, 'init_from.workdir'))
    other, state, _ = workdir.load_networks(folder)
    networks = other.algorithm.networks(state)
    if start.network not in networks:
        raise ValueError(
            f'init_from.network is {start.network!r}, but the run in {start.workdir} has '
            f'{", ".join(networks)}.'
        )
    return jax.device_get(networks[start.network].variables), other.source.classes


def _read_file(file: str) -> dict[str, np.ndarray]:
    """The weights in a file, float32; skips integer tensors."""
    try:
        tensors = safetensors.numpy.load_file(paths.parse_local(file, 'init_from.file'))
    except Exception as error:  # A missing file, or an error of safetensors.
        raise ValueError(
            f'init_from.file {file} can not be read ({error}); give a .safetensors file of weights '
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
            f'networks.{role} can not start from a file: {module.__name__} has no from_timm. '
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
        _image(experiment),
    )
    here, there = _shapes(Variables(made.params, made.batch_stats)), _shapes(found)
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
    image = _image(experiment)
    try:
        return found.replace(params=module.resize(found.params, image.shape[1:]))
    except (KeyError, ValueError) as error:
        raise ValueError(f'{_refusal(experiment, role)}: {error}') from error


def _refusal(experiment, role):
    start = experiment.config.init_from
    return f'networks.{role} can not start from {start.workdir or start.file}'


def _image(experiment):
    """Images as a network is trained on, as a jax.ShapeDtypeStruct."""
    parts = experiment.batch.values()
    return next(leaf for part in parts for leaf in part.values() if leaf.ndim == 4)


def _takes_images(experiment, role):
    """Whether a network is no head on the features of another one."""
    return 'num_classes' in inspect.signature(_module(experiment, role).make).parameters


def _module(experiment: Experiment, role: str) -> ModuleType:
    return importlib.import_module(f'mpl.models.{experiment.config.networks[role].model.name}')


def _shapes(variables: Variables) -> dict[str, tuple[int, ...]]:
    """The shape of every array, by its path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    return {
        jax.tree_util.keystr(path, simple=True, separator='/'): np.shape(leaf)
        for path, leaf in leaves
    }
