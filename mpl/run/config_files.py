"""Finds config files and calls them with the arguments that follow their path.

A config file is a Python file with one of

    def get_config(...)      returns a ConfigDict
    METHODS = {...}          such functions by name; the first argument is the name

so that --config=configs/digits.py:mpl,labels=20,feedback=dot is the config
METHODS['mpl'](labels=20, feedback='dot'), and `configs/digits.py:help` prints all methods and arguments.

Values are parsed by the annotation of the argument: int, float, bool, str, Literal, or a union of
these. Values with commas are quoted: path='a,b'. Files of one folder import each other by
`from . import released`; each folder is a package with a unique name.
"""

import functools
import importlib.util
import inspect
import os
import re
import shlex
import sys
import typing
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, NamedTuple

from mpl.run import config_help, paths

PROJECT = Path(__file__).parents[2]


class Call(NamedTuple):
    """A config file, its function that returns the config, and the arguments."""

    shown: str  # the path as given, without arguments
    file: Path
    module: ModuleType
    method: str  # '' for get_config
    function: Callable
    arguments: dict[str, Any]  # as given, in the order of the signature


def read(path: str) -> dict:
    """The config of a file, without defaults.

    Args:
      path: of the file, and after a ':' its arguments.

    Raises:
      ValueError: unknown file or argument, or the file returns no config.
      SystemExit: the argument is `help`; the help of the file was printed.
    """
    call = _call(path)
    try:
        return call.function(**call.arguments).to_dict()
    except ValueError as error:
        raise ValueError(_with_help(f'{path} is refused: {error}', call)) from error
    except (Exception, SystemExit) as error:  # Config files may raise anything.
        raise _no_config(path, error) from error


def name(path: str) -> str:
    """The name of a config in tables and folders: its file, method and arguments.

    The given arguments in the order of the signature: digits-mpl,labels=20,feedback=dot. Other
    characters than letters, digits and .,=+%_ become hyphens.

    Raises:
      ValueError: as `read`, and for a name too long for a folder.
    """
    call = _call(path)
    words = [call.method] if call.method else []
    words += [f'{key}={_short(value)}' for key, value in call.arguments.items()]
    text = '-'.join([call.file.stem, *filter(None, [','.join(words)])])
    text = re.sub(r'[^\w.,=+%-]+', '-', text)
    text = re.sub(r'^\.+', '-', text)  # Else a hidden folder or the parent folder.
    if len(os.fsencode(text)) > 200:
        raise ValueError(
            f'{path} makes a name of more than 200 bytes, too long for a folder; give the file a '
            'shorter name, or a long value as --config.KEY=VALUE.'
        )
    return text


def _short(value):
    """A number as 3e+12 where that is all of it."""
    if isinstance(value, float) and float(f'{value:g}') == value:
        return f'{value:g}'
    return value


def find(path: str) -> tuple[Path, int]:
    """The file of a config, and the length of its path in `path`; a ':' and arguments may follow.

    Relative paths are looked up in the current folder, then in the project folder; a note on stderr
    reports the latter. Paths may contain colons.

    Raises:
      ValueError: no such file, two of them, or not a Python file; or a path that is not allowed.
    """
    ends = [match.start() for match in re.finditer(':', path)] + [len(path)]
    paths.check_printable(path, 'The config')
    for folder in (Path(), PROJECT):
        found = [end for end in ends if os.path.isfile(folder / path[:end])]
        if len(found) > 1:
            raise ValueError(
                f'The config {path} may be {" or ".join(path[:end] for end in found)}, with arguments '
                'behind it; rename one of them.'
            )
        if found:
            file, end = folder / path[: found[0]], found[0]
            if file.suffix != '.py':
                raise ValueError(f'{file} is no Python file; give one that ends in .py.')
            if folder is PROJECT and not Path.cwd().samefile(PROJECT):
                _print_once(f'note: {path[:end]} is that of {PROJECT}.')
            return file, end
    wanted = re.split(r'(?<=\.py):', path)[0]
    folders = [folder / Path(wanted).parent for folder in (Path(), PROJECT)]
    near = next(
        (found for folder in folders if (found := sorted(map(str, folder.glob('*.py'))))), []
    )
    raise ValueError(
        f'There is no config file {wanted}; its folder has {", ".join(near) or "none"}.'
    )


def modules(folder: Path) -> dict[str, ModuleType]:
    """The config files of a folder with METHODS or get_config, by the stems of their names."""
    found = {file.stem: _import(file) for file in sorted(folder.glob('*.py'))}
    return {
        stem: module
        for stem, module in found.items()
        if hasattr(module, 'METHODS') or hasattr(module, 'get_config')
    }


def _call(path):
    file, end = find(path)
    try:
        module = _import(file)
        methods = getattr(module, 'METHODS', None)
        function = None if methods else module.get_config
    except (Exception, SystemExit) as error:
        raise _no_config(path, error) from error
    call = Call(path[:end], file, module, '', function, {})
    try:
        words = _split(path[end + 1 :])
        if words == ['help']:
            print(config_help.show(call.shown, module))
            sys.exit(0)
        if methods:
            method = words.pop(0) if words else ''
            if method not in methods:
                problem = f'has no method {method!r}' if method else 'needs a method'
                raise ValueError(f'{call.shown} {problem}; choose one of {", ".join(methods)}.')
            call = call._replace(method=method, function=methods[method])
        return call._replace(arguments=_arguments(call, words))
    except ValueError as error:
        raise ValueError(_with_help(str(error), call)) from error


def _import(file):
    """The module of a file, in a package with a unique name for its folder."""
    folder = file.parent.resolve()
    package = f'mpl_configs_{os.fsencode(folder).hex()}'
    if package not in sys.modules:
        spec = ModuleSpec(package, None, is_package=True)
        spec.submodule_search_locations = [str(folder)]
        sys.modules[package] = importlib.util.module_from_spec(spec)
    spec = importlib.util.spec_from_file_location(f'{package}.config_file', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _split(text):
    """'mpl,labels=20' as ['mpl', 'labels=20']; quotes keep commas together."""
    words = shlex.shlex(text, posix=True)
    words.whitespace, words.whitespace_split, words.commenters, words.escape = ',', True, '', ''
    try:
        return list(words)
    except ValueError as error:
        raise ValueError(
            f'A quote in {text!r} is not closed; put a value that contains a quote into the other kind of quotes.'
        ) from error


def _arguments(call, words):
    """The words parsed as arguments of the function, checked by its annotations."""
    parameters = inspect.signature(call.function, eval_str=True).parameters
    free, given = list(parameters), {}
    owner = f'{call.shown}:{call.method}' if call.method else call.shown
    for word in words:
        key, equals, value = word.partition('=')
        if not equals and not call.method and free:  # get_config also takes positional arguments.
            key, value = free[0], word
        elif not equals or key not in parameters:
            allowed = ', '.join(parameters) or 'none'
            raise ValueError(f'{owner} has no argument {word!r}; allowed: {allowed}.')
        if key in given:
            raise ValueError(f'{owner} has {key} twice; give it once.')
        given[key] = _convert(value, parameters[key].annotation, key)
        free.remove(key)
    if missing := [key for key in free if parameters[key].default is inspect.Parameter.empty]:
        raise ValueError(f'{owner} needs the argument {missing[0]}=...')
    return {key: given[key] for key in parameters if key in given}


def _convert(text, annotation, key):
    """The text parsed as one of the types of the annotation."""
    for kind in config_help.kinds(annotation):
        if typing.get_origin(kind) is Literal:
            for value in typing.get_args(kind):
                if text == str(value):
                    return value
        elif kind is bool and text in ('true', 'false'):
            return text == 'true'
        elif kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        elif kind in (str, inspect.Parameter.empty):
            return text
    raise ValueError(f'{key} is {text!r}; give {config_help.allowed(annotation)}.')


def _with_help(sentence, call):
    return f'{sentence}\n\n{config_help.show(call.shown, call.module)}'


def _no_config(path, error):
    return ValueError(
        f'{path} gives no config ({type(error).__name__}: {error}); a config is a file with a '
        'function get_config() that returns a ConfigDict, or with such functions in METHODS.'
    )


@functools.cache
def _print_once(line):
    """Prints a line on stderr the first time."""
    print(line, file=sys.stderr)
