"""Completes one section of a config with defaults and checks it, by the signature of a function.

The keys of a section are the arguments of a function, such as `make` of mpl/models/cnn.py; the
annotations are the types.
"""

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import typing
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

DEEPEST = 64  # levels of nested sections
SMALLEST, LARGEST = 1.2e-38, 3.4e38  # normal float32 numbers; XLA flushes smaller ones to 0
TYPES = (int, float, str, bool, tuple, dict)


def find_module(folder: str, name: str, where: str) -> ModuleType:
    """The module mpl/<folder>/<name>.py, which has a function `make`.

    Raises:
      ValueError: there is no such module; `where` is the section, for the message.
    """
    if isinstance(name, str) and name.isidentifier():
        if importlib.util.find_spec(f'mpl.{folder}.{name}') is not None:
            module = importlib.import_module(f'mpl.{folder}.{name}')
            if hasattr(module, 'make'):
                return module
    raise ValueError(
        f'{where}.name {name!r} is unknown; choose one of '
        f'{", ".join(module_names(folder))}, or add mpl/{folder}/{name}.py.'
    )


def module_names(folder: str) -> list[str]:
    """The names of the modules in mpl/<folder>/ that have a function `make`; imports none of them."""
    package = importlib.import_module(f'mpl.{folder}')
    return [
        m.name
        for m in pkgutil.iter_modules(package.__path__)
        if not m.ispkg
        and 'def make(' in Path(package.__path__[0], m.name + '.py').read_text(encoding='utf-8')
    ]


def complete_named(
    folder: str, spec: dict, where: str, runtime: tuple[str, ...], has_roles: bool = False
) -> dict:
    """Completes {'name': ..., **keys}, the arguments of `make` in mpl/<folder>/<name>.py.

    Raises:
      ValueError: as `complete`, and for a missing or unknown name.
    """
    if not isinstance(spec.get('name'), str):
        raise ValueError(f'{where} needs a name: that of a file in mpl/{folder}/.')
    make = find_module(folder, spec['name'], where).make
    return _complete_found(lambda name: make, spec, where, runtime, has_roles)


def complete(
    function: Callable,
    given: dict,
    where: str,
    runtime: tuple[str, ...] = (),
    has_roles: bool = False,
) -> dict:
    """`given` with the defaults of the function's arguments, checked by its annotations.

    Arguments named in `runtime` are set by the caller. If some arguments are networks by their roles (`has_roles`),
    runtime are those of the config, and a function that does not take all of them is refused. An
    argument Annotated[dict, f] is a nested section with the arguments of f or, if the only
    argument of f is `name`, of f(name).

    Raises:
      ValueError: an unknown or missing key, or a value of another type or out of range.
    """
    if not isinstance(given, dict):
        raise ValueError(f'{where} is {given!r}; it is a section: give keys and values.')
    arguments = inspect.signature(function, eval_str=True).parameters
    allowed = keys(function, runtime, has_roles)
    unused = [name for name in runtime if name not in arguments]
    if unused and has_roles:
        used = [name for name in runtime if name in arguments]
        raise ValueError(
            f'{where} does not use networks.{unused[0]}; remove it'
            + (f', and give networks.{", networks.".join(used)} alone.' if used else '.')
        )
    for key in given:
        if key not in allowed:
            raise ValueError(unknown_key(where, key, allowed))
    filled = {}
    for name in allowed:
        argument = arguments[name]
        if name in given:
            filled[name] = _cast(given[name], argument.annotation, f'{where}.{name}')
            _check_range(name, filled[name], f'{where}.{name}')
        elif argument.default is not inspect.Parameter.empty:
            filled[name] = argument.default
        elif has_roles and argument.annotation not in TYPES:
            raise ValueError(f'The algorithm needs networks.{name}; add its model and optimizer.')
        else:
            raise ValueError(f'{where} lacks the key {name!r}; add it to the config.')
        section = metadata(argument)
        if section and filled[name] is not None:
            filled[name] = _complete_inner(section, filled[name], f'{where}.{name}')
    return filled


def check_values(value: object, where: str, depth: int = 0) -> None:
    """Refuses values that no key may have: types without JSON, numbers outside 32 bits.

    Raises:
      ValueError: names the key and the allowed values.
    """
    kind = type(value).__name__
    if isinstance(value, dict | list | tuple):
        if depth == DEEPEST:
            raise ValueError(f'{where} is nested more than {DEEPEST} deep; give fewer levels.')
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            if isinstance(value, dict) and not isinstance(key, str):
                raise ValueError(f'{where} has the key {key!r}, which is no text; give a name.')
            check_values(inner, f'{where}.{key}', depth + 1)
    elif isinstance(value, int):
        bits = 63 if where.endswith('_bytes') else 31
        if not -(2**bits) <= value < 2**bits:
            raise ValueError(
                f'{where} is a number of {value.bit_length()} bits; give one of at most {bits}.'
            )
    elif isinstance(value, float):
        if value != 0 and not SMALLEST <= abs(value) <= LARGEST:
            raise ValueError(
                f'{where} is {value}; give 0 or a number whose size is from {SMALLEST} to {LARGEST}.'
            )
    elif not isinstance(value, str | None) or '\0' in (value or ''):
        raise ValueError(
            f'{where} is {value!r}, a {kind}; give a number, text without NUL, a '
            'sequence or a section.'
        )


def keys(function: Callable, runtime: tuple[str, ...] = (), has_roles: bool = False) -> list[str]:
    """The keys of a section: the arguments of its function that are set by a config; see `complete`."""
    return [
        name
        for name, argument in inspect.signature(function, eval_str=True).parameters.items()
        if name not in runtime and not (has_roles and _is_optional_network(argument))
    ]


def roles(make: Callable) -> list[str]:
    """The roles of an algorithm's networks, from the arguments of its `make`."""
    return [
        name
        for name, argument in inspect.signature(make, eval_str=True).parameters.items()
        if argument.annotation not in TYPES
        and any(kind not in (*TYPES, type(None)) for kind in _kinds(argument.annotation))
    ]


def metadata(argument: inspect.Parameter) -> Callable | None:
    """The function f of an argument Annotated[dict, f]; None for any other argument."""
    return getattr(argument.annotation, '__metadata__', (None,))[0]


def is_by_name(function: Callable) -> bool:
    """Whether a function of a nested section maps a name to the function of its keys."""
    return list(inspect.signature(function).parameters) == ['name']


def unknown_key(where: str, key: str, allowed: list[str]) -> str:
    """The error sentence for an unknown key."""
    near = difflib.get_close_matches(key, allowed, 1)
    return (
        f'{where} has no key {key!r}'
        + (f'; did you mean {near[0]!r}? ' if near else '. ')
        + f'Allowed: {", ".join(allowed)}.'
    )


def _complete_found(find, spec, where, runtime=(), has_roles=False):
    """Completes {'name': ..., **keys} by the function that `find` returns for the name."""
    given = {k: v for k, v in spec.items() if k != 'name'}
    return {'name': spec['name']} | complete(find(spec['name']), given, where, runtime, has_roles)


def _complete_inner(function, spec, where):
    if is_by_name(function):
        return _complete_found(function, {'name': None} | spec, where)
    return complete(function, spec, where)


def _is_optional_network(argument):
    """Whether the network of this role is optional."""
    kinds = typing.get_args(argument.annotation)
    return argument.default is None and any(kind not in (*TYPES, type(None)) for kind in kinds)


def _kinds(annotation):
    annotation = getattr(annotation, '__origin__', annotation)  # without the metadata of Annotated
    return typing.get_args(annotation) or (annotation,)


def _cast(value, annotation, where):
    """The value converted to the type of the annotation; only annotations of TYPES are checked."""
    allowed = _kinds(annotation)
    if isinstance(value, list):
        value = tuple(value)
    if float in allowed and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if all(kind in (*TYPES, type(None)) for kind in allowed):
        if not isinstance(value, allowed) or (isinstance(value, bool) and bool not in allowed):
            names = ' or '.join(kind.__name__ for kind in allowed)
            raise ValueError(f'{where} is {value!r}, a {type(value).__name__}; give a {names}.')
    return value


def _check_range(name, value, where):
    """The range follows from the last word of the key, in every section."""
    if not isinstance(value, int | float):
        return
    last = name.rpartition('_')[2]
    if last == 'temperature' and not value > 0:
        raise ValueError(f'{where} is {value}; give a number above 0.')
    if (name in ('beta1', 'beta2') or last == 'smoothing') and not 0 <= value < 1:
        raise ValueError(f'{where} is {value}; give a number from 0 to below 1.')
    shares = ('decay', 'threshold', 'momentum', 'dropout')
    positive = ('steps', 'rate', 'norm', 'epsilon', 'weight', *shares)
    if last in positive and name != 'feedback_weight' and not value >= 0:  # -1 flips feedback.
        raise ValueError(f'{where} is {value}; give 0 or more.')
    if last in shares and name != 'weight_decay' and value > 1:
        raise ValueError(f'{where} is {value}; give a number from 0 to 1.')
