"""Configs: read, completed, checked. The folders are the registry."""

import ast
import difflib
import importlib
import importlib.util
import inspect
import json
import pkgutil
import typing
from pathlib import Path
from typing import Any, NamedTuple

import ml_collections
from etils import epath

from mpl.run import paths, records


class Batch(NamedTuple):
    """Images per step over all devices, and per call when measuring."""

    labeled: int
    unlabeled: int = 0
    evaluate: int = 512


class Split(NamedTuple):
    """Which training examples are labeled, unlabeled and held out.

    labels: to keep in all, 0 for all. validation: to hold out, 0 where the source has
    a validation part. file: a split saved before, instead of a drawn one. unlabeled_only:
    names of classes that are not to be learned; their training images are unlabeled, and
    they are in no other part. imbalance: how many times as frequent the first class is in
    training as the last, see data.splits.draw; 1 leaves the classes as they are.
    """

    labels: int = 0
    validation: int = 0
    unlabeled_includes_labeled: bool = True
    file: str = ''
    unlabeled_only: tuple = ()
    imbalance: float = 1.0


class Every(NamedTuple):
    """Steps between two log lines, two evaluations, two checkpoints."""

    log: int = 50
    evaluate: int = 500
    save: int = 500


class Finetune(NamedTuple):
    """The last stage of MPL: the student alone, on the labeled images (section 3.2).

    steps: 0 leaves the stage out. network: whose weights it starts from, under their
    name in the report. labeled: images per step. optimizer: as in `networks`.
    """

    steps: int = 0
    network: str = 'student'
    labeled: int = 32
    optimizer: dict = {'name': 'sgd', 'learning_rate': 1e-4}


class InitFrom(NamedTuple):
    """Weights to start from, instead of random ones: of another run, or of a file.

    workdir: of another run, whose network `network` is taken. file: a .safetensors file
    with the names and layouts of timm, for models with a `from_timm`. Not both. head:
    'keep' takes the last layer too, 'new' draws it, for other classes. networks: the
    roles that start from it; none names all.
    """

    workdir: str = ''
    file: str = ''
    network: str = 'student'
    head: str = 'keep'
    networks: tuple = ()


class Teacher(NamedTuple):
    """The stage before: a trained network labels all training examples, once, for this run.

    config: of the run that trains it, whole, but for its seed, source and split, which are this
    run's; it may have a teacher of its own. workdir: a finished run of the same data and split,
    instead. network: whose labels, under its name in that run's report. per_class: unlabeled
    examples to keep of each class, the most confident; 0 keeps all. confidence: least probability
    of those. balance: repeats those of smaller classes until there are `per_class`.
    """

    config: dict = {}
    workdir: str = ''
    network: str = 'student_ema'
    confidence: float = 0.0
    per_class: int = 0
    balance: bool = False


class Mesh(NamedTuple):
    """How devices share the work. Examples are spread over groups of devices.

    model: devices in a group; they share each image, by its columns. weights: 'whole' keeps
    a copy of each weight on every device, 'data' one part in each group, 'model' one part on
    each device of a group; likewise what the optimizer keeps, and averages.
    """

    model: int = 1
    weights: str = 'whole'


class Run(NamedTuple):
    """Every section of a config.

    seed: draws labels, weights, order, views, everything. steps_per_call: most steps
    in one compiled call. resident_bytes: a training set up to this size stays on the
    device. Sections with a name are passed on to `make` of the file of that name.
    """

    steps: int
    source: dict
    batch: dict
    views: dict
    networks: dict
    algorithm: dict
    split: dict = {}
    every: dict = {}
    finetune: dict = {}
    init_from: dict = {}
    teacher: dict = {}
    mesh: dict = {}
    seed: int = 0
    steps_per_call: int = 10
    resident_bytes: int = 2**30


TYPES = (int, float, str, bool, tuple, dict)
NAMED = {'source': 'data', 'views': 'augment', 'algorithm': 'algorithms'}
PLAIN = {
    'batch': Batch,
    'split': Split,
    'every': Every,
    'finetune': Finetune,
    'init_from': InitFrom,
    'teacher': Teacher,
    'mesh': Mesh,
}
SHARED = ('seed', 'source', 'split')  # of a run and the teacher that is trained for it
RUNTIME = {'models': ('num_classes',), 'optimizers': ('steps',), 'data': (), 'augment': ()}


def load(path: str, overrides: list[str]) -> ml_collections.ConfigDict:
    """Reads get_config() of a Python file, completed with every default.

    Args:
      path: of the file; what follows a ':' is the argument of get_config.
      overrides: such as '--config.steps=2000'.

    Raises:
      ValueError: there is no such file or key, or a value of the wrong type.
    """
    file, argument = locate(path)
    spec = importlib.util.spec_from_file_location('config_file', file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        config = module.get_config(*[argument] if argument else [])
        given = config.to_dict()
    except Exception as error:  # A config is a program, and fails in any way.
        raise ValueError(
            f'{path} gives no config ({type(error).__name__}: {error}); a config is a file with a '
            'function get_config() that returns a ConfigDict, of one argument where a : follows.'
        ) from error
    return override(complete(given), overrides)


def locate(path: str) -> tuple[str, str]:
    """The file and the argument in 'file.py:argument', either of which may hold colons.

    Raises:
      ValueError: there is no such file, or there are two.
    """
    path = paths.parse_local(path, 'The config')
    parts = path.split(':')
    cuts = [':'.join(parts[:end]) for end in range(1, len(parts) + 1)]
    found = [file for file in cuts if Path(file).is_file()]
    if len(found) > 1:
        raise ValueError(
            f'The config {path} may be {" or ".join(found)}, with what follows as its argument; '
            'rename one of them.'
        )
    if not found:
        near = sorted(str(p) for p in Path(path).parent.glob('*.py'))
        raise ValueError(
            f'There is no config file {path}; its folder has {", ".join(near) or "none"}.'
        )
    if not found[0].endswith('.py'):
        raise ValueError(f'The config {found[0]} is no Python file; give one that ends in .py.')
    return found[0], path[len(found[0]) + 1 :]


def override(config: ml_collections.ConfigDict, overrides: list[str]) -> ml_collections.ConfigDict:
    """The complete config with other numbers, such as '--config.steps=2000'.

    Raises:
      ValueError: there is no such key, or a value is of the wrong type.
    """
    changed = config.to_dict()
    for one in overrides:
        _override(changed, one)
    return complete(changed)


def complete(config: dict) -> ml_collections.ConfigDict:
    """The config with the default of every number that it does not name.

    Raises:
      ValueError: an unknown, missing or wrongly typed key; an unknown name.
    """
    run = _fill(Run, config, 'config')
    for section, kind in PLAIN.items():
        run[section] = _fill(kind, run[section], section)
    for section, folder in NAMED.items():
        if section != 'algorithm':
            run[section] = _complete_named(folder, run[section], section, RUNTIME[folder])
    roles = tuple(run['networks'])
    run['networks'] = dict(run['networks'])
    run['algorithm'] = _complete_named('algorithms', run['algorithm'], 'algorithm', roles)
    for role in roles:
        where = f'networks.{role}'
        net = _fill(_network, run['networks'][role], where)
        run['networks'][role] = net | {
            part: _complete_named(part + 's', net[part], f'{where}.{part}', RUNTIME[part + 's'])
            for part in ('model', 'optimizer')
        }
    run['finetune']['optimizer'] = _complete_named(
        'optimizers', run['finetune']['optimizer'], 'finetune.optimizer', ('steps',)
    )
    if run['teacher']['config']:
        try:
            teacher = complete(run['teacher']['config'] | {key: run[key] for key in SHARED})
        except ValueError as error:
            raise ValueError(f'teacher.config: {error}') from error
        run['teacher']['config'] = teacher.to_dict()
    return ml_collections.ConfigDict(run).lock()


def read(path: epath.Path) -> ml_collections.ConfigDict:
    """The config of a run, from the config.json in its folder, completed.

    Raises:
      ValueError: there is none, or it can not be read.
    """
    if not path.exists():
        raise ValueError(f'{path.parent} holds no run (no config.json); give the --workdir of one.')
    record = records.read(
        path, 'the config of a run', 'bring it back, or train again in another folder'
    )
    try:
        return complete(record)
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f'{path} is not the config of a run: {error}') from error


def build(folder: str, spec: dict, **runtime) -> Any:
    """Calls `make` of mpl/<folder>/<spec['name']>.py with the rest of spec."""
    numbers = {k: v for k, v in dict(spec).items() if k != 'name'}
    make = _module(folder, spec['name'], folder).make
    try:
        return make(**numbers, **runtime)
    except TypeError as error:
        raise ValueError(
            f'mpl/{folder}/{spec["name"]}.py can not take these numbers: {error}.'
        ) from error


def differences(old: dict, new: dict, where: str = '') -> list[str]:
    """One line for each number that differs, 'steps: 100 -> 200'."""
    lines = []
    for key in sorted(set(old) | set(new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(after, dict):
            lines += differences(before, after, f'{where}{key}.')
        elif before != after:
            lines.append(f'{where}{key}: {before!r} -> {after!r}')
    return lines


def to_json(config: ml_collections.ConfigDict) -> str:
    """The config as JSON, sections in order of name."""
    return json.dumps(config.to_dict(), indent=2, sort_keys=True) + '\n'


def _network(model: dict, optimizer: dict, evaluation_mode: bool = False):
    """The shape of an entry of `networks`.

    evaluation_mode: train with running batch statistics, which then stay, and without dropout.
    """


def _module(folder: str, name: str, where: str):
    package = importlib.import_module(f'mpl.{folder}')
    if name.isidentifier() and importlib.util.find_spec(f'mpl.{folder}.{name}') is not None:
        module = importlib.import_module(f'mpl.{folder}.{name}')
        if hasattr(module, 'make'):
            return module
    names = [
        m.name
        for m in pkgutil.iter_modules(package.__path__)
        if 'def make(' in Path(package.__path__[0], m.name + '.py').read_text(encoding='utf-8')
    ]
    raise ValueError(
        f'{where}.name {name!r} is unknown; choose one of '
        f'{", ".join(names)}, or add mpl/{folder}/{name}.py.'
    )


def _complete_named(folder, spec, where, runtime):
    if not isinstance(spec.get('name'), str):
        raise ValueError(f'{where} needs a name: that of a file in mpl/{folder}/.')
    return _fill_named(lambda name: _module(folder, name, where).make, spec, where, runtime)


def _fill_named(find, spec, where, runtime=()):
    """Completes {'name': ..., **numbers} by the function that `find` knows under the name."""
    numbers = {k: v for k, v in spec.items() if k != 'name'}
    return {'name': spec['name']} | _fill(find(spec['name']), numbers, where, runtime)


def _fill_section(function, spec, where):
    """Completes a section inside of one; see `_fill`."""
    if list(inspect.signature(function).parameters) == ['name']:
        return _fill_named(function, {'name': None} | spec, where)
    return _fill(function, spec, where)


def _fill(function, given: dict, where: str, runtime: tuple[str, ...] = ()) -> dict:
    """`given` with the defaults of function's arguments, checked by its annotations.

    Arguments named in `runtime` are left to the caller; a function that lacks one of
    them, or wants one more, is refused. An argument Annotated[dict, f] is a section of
    its own with the arguments of f; or, where f takes a name alone, of f(name).
    """
    arguments = inspect.signature(function, eval_str=True).parameters
    allowed = [
        name
        for name, argument in arguments.items()
        if name not in runtime and not (where == 'algorithm' and _is_optional_network(argument))
    ]
    if unused := [name for name in runtime if name not in arguments]:
        raise ValueError(f'{where} has no use for networks.{unused[0]}; remove it.')
    filled = {}
    for key in given:
        if key not in allowed:
            near = difflib.get_close_matches(key, allowed, 1)
            raise ValueError(
                f'{where} has no key {key!r}; '
                + (f'did you mean {near[0]!r}? ' if near else '')
                + f'Allowed: {", ".join(allowed)}.'
            )
    for name in allowed:
        argument = arguments[name]
        if name in given:
            filled[name] = _cast(given[name], argument.annotation, f'{where}.{name}')
            _check_range(name, filled[name], f'{where}.{name}')
        elif argument.default is not inspect.Parameter.empty:
            filled[name] = argument.default
        elif where == 'algorithm' and argument.annotation not in TYPES:
            raise ValueError(f'The algorithm needs networks.{name}; add its model and optimizer.')
        else:
            raise ValueError(f'{where} lacks the key {name!r}; add it to the config.')
        section = getattr(argument.annotation, '__metadata__', None)
        if section and filled[name] is not None:
            filled[name] = _fill_section(section[0], filled[name], f'{where}.{name}')
    return filled


def _is_optional_network(argument):
    """Whether an algorithm can do without the network of this role."""
    kinds = typing.get_args(argument.annotation)
    return argument.default is None and any(kind not in (*TYPES, type(None)) for kind in kinds)


def _cast(value, annotation, where):
    """The value in the form that the annotation asks for; other annotations are not checked."""
    annotation = getattr(annotation, '__origin__', annotation)  # without what Annotated adds
    allowed = typing.get_args(annotation) or (annotation,)
    if isinstance(value, list):
        value = tuple(value)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if all(kind in (*TYPES, type(None)) for kind in allowed):
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            names = ' or '.join(kind.__name__ for kind in allowed)
            raise ValueError(f'{where} is {value!r}, a {type(value).__name__}; give a {names}.')
    return value


def _check_range(name, value, where):
    """The numbers of methods and optimizers go by name: a decay is a decay everywhere."""
    if not isinstance(value, int | float):
        return
    last = name.rpartition('_')[2]
    if last == 'temperature' and not value > 0:
        raise ValueError(f'{where} is {value}; give a number above 0.')
    shares = ('decay', 'smoothing', 'threshold', 'momentum', 'dropout')
    if last in ('steps', 'rate', 'norm', *shares) and not value >= 0:
        raise ValueError(f'{where} is {value}; give 0 or more.')
    if last in shares and name != 'weight_decay' and value > 1:
        raise ValueError(f'{where} is {value}; give a number from 0 to 1.')


def _override(config, override):
    """Sets one number: --config.algorithm.feedback=off."""
    path, _, text = override.removeprefix('--config.').partition('=')
    node, where, (*sections, last) = config, 'config', path.split('.')
    for part in [*sections, last]:
        if not isinstance(node, dict) or part not in node:
            allowed = list(node) if isinstance(node, dict) else []
            near = difflib.get_close_matches(part, allowed, 1)
            raise ValueError(
                f'{where} has no key {part!r}'
                + (f'; did you mean {near[0]!r}?' if near else '.')
                + (f' Allowed: {", ".join(allowed)}.' if allowed else '')
            )
        parent, node, where = node, node[part], f'{where}.{part}'
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        value = {'true': True, 'false': False}.get(text, text)
    if isinstance(node, dict):
        raise ValueError(f'{where} is a section; set one of {", ".join(node)}.')
    parent[last] = value
