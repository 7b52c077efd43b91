"""Config files: found, and called with the arguments behind their name.

A config file is a Python file with either of

    def get_config(...)      returns a ConfigDict
    METHODS = {...}          functions that do, by the name that comes first among the arguments

so that --config=configs/digits.py:mpl,labels=20,feedback=dot is the config
METHODS['mpl'](labels=20, feedback='dot'), and `configs/digits.py:help` prints what there is.

A value is read as the annotation of its argument asks: int, float, bool, str, Literal, or several
of them joined by |. Quotes keep commas together: path='a,b'. Files of one folder import each other by
`from . import released`; the folder is a package of its own, whatever else has its name.
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

from mpl.run import config_help

PROJECT = Path(__file__).parents[1]


class Call(NamedTuple):
    """A config file, the function of it that gives the config, and its arguments."""

    shown: str  # the path as given, without arguments
    file: Path
    module: ModuleType
    method: str  # '' for get_config
    function: Callable
    arguments: dict[str, Any]  # those given, in the order of the signature


def read(path: str) -> dict:
    """The config of a file, not completed yet.

    Args:
      path: of the file, and after a ':' its arguments.

    Raises:
      ValueError: there is no such file or argument, or it gives no config.
      SystemExit: the argument is `help`; what the file offers was printed.
    """
    call = _call(path)
    try:
        return call.function(**call.arguments).to_dict()
    except ValueError as error:
        raise ValueError(_with_help(f'{path} is refused: {error}', call)) from error
    except (Exception, SystemExit) as error:  # A config is a program, and fails in any way.
        raise _no_config(path, error) from error


def name(path: str) -> str:
    """The name of a config in tables and folders: its file, method and arguments.

    The arguments are those given, in the order of the signature: digits-mpl,labels=20,feedback=dot,
    in whatever order they were given. Characters that are odd in a folder name become hyphens.

    Raises:
      ValueError: as `read`, and for a name too long for a folder.
    """
    call = _call(path)
    words = [call.method] if call.method else []
    words += [f'{key}={value}' for key, value in call.arguments.items()]
    text = '-'.join([call.file.stem, *filter(None, [','.join(words)])])
    text = re.sub(r'[^\w.,=+%-]+', '-', text)
    text = re.sub(r'^\.+', '-', text)  # Else hidden, or the folder above.
    if len(os.fsencode(text)) > 200:
        raise ValueError(
            f'{path} makes a name of more than 200 bytes, too long for a folder; give the file a '
            'shorter name, or a long value as --config.KEY=VALUE.'
        )
    return text


def find(path: str) -> tuple[Path, int]:
    """The file of a config, and how long its name is in `path`; a ':' and arguments may follow.

    A relative path is looked up in the current folder first, then in the project's own, which a line
    on stderr says. Colons may be part of the path.

    Raises:
      ValueError: there is no such file, or it is no Python file.
    """
    ends = [match.start() for match in re.finditer(':', path)] + [len(path)]
    for folder in (Path(), PROJECT):
        for end in ends:
            file = folder / path[:end]
            if file.is_file():
                if file.suffix != '.py':
                    raise ValueError(f'{file} is no Python file; give one that ends in .py.')
                if folder is PROJECT and not Path.cwd().samefile(PROJECT):
                    _say(f'note: {path[:end]} is that of {PROJECT}.')
                return file, end
    wanted = re.split(r'(?<=\.py):', path)[0]
    folders = [folder / Path(wanted).parent for folder in (Path(), PROJECT)]
    near = next((found for of in folders if (found := sorted(map(str, of.glob('*.py'))))), [])
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
                asked = f'has no method {method!r}' if method else 'needs a method'
                raise ValueError(f'{call.shown} {asked}; choose one of {", ".join(methods)}.')
            call = call._replace(method=method, function=methods[method])
        return call._replace(arguments=_arguments(call, words))
    except ValueError as error:
        raise ValueError(_with_help(str(error), call)) from error


def _import(file):
    """The module of a file, in a package of its folder that nothing else can have the name of."""
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
            f'A quote in {text!r} is not closed; a value with a quote in it goes into the other kind.'
        ) from error


def _arguments(call, words):
    """The words as arguments of the function, checked by its annotations."""
    parameters = inspect.signature(call.function, eval_str=True).parameters
    free, given = list(parameters), {}
    owner = f'{call.shown}:{call.method}' if call.method else call.shown
    for word in words:
        key, equals, value = word.partition('=')
        if not equals and not call.method and free:  # get_config takes them in order, too.
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
    """The text as a value of one of the types of the annotation."""
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
def _say(line):
    """Prints a line on stderr, each once."""
    print(line, file=sys.stderr)
