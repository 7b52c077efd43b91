"""The help text of a config file: methods, arguments, values, recipes."""

import inspect
import types
import typing
from types import ModuleType
from typing import Any, Literal

WORDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'a text'}


def show(shown: str, module: ModuleType) -> str:
    """The help of a config file.

    Args:
      shown: its path, as the user gave it.
      module: the file; entries of its optional RECIPES have arguments, source, published and result.
    """
    lines = [*(module.__doc__ or '').strip().splitlines()[:1], '']
    if hasattr(module, 'METHODS'):
        lines += [f'--config={shown}:METHOD,KEY=VALUE,... with one of these methods:', '']
        names_by_keys = {}
        for name, function in module.METHODS.items():
            names_by_keys.setdefault(tuple(_keys(function)), []).append(name)
        for keys, names in names_by_keys.items():
            lines += [f'  {", ".join(names)}', *(f'      {line}' for line in keys)]
    else:
        lines += [f'--config={shown}:KEY=VALUE,... with these keys:', '']
        lines += [f'  {line}' for line in _keys(module.get_config) or ['none']]
    recipes = getattr(module, 'RECIPES', ())
    lines += ['', 'Recipes:', ''] if recipes else []
    return '\n'.join([*lines, *(f'  {_line(recipe)}' for recipe in recipes)])


def allowed(annotation: Any) -> str:
    """The allowed values of an argument, such as 'a whole number or all'."""
    words = []
    for kind in kinds(annotation):
        if typing.get_origin(kind) is Literal:
            words += [str(value) for value in typing.get_args(kind)]
        elif kind is not type(None):
            words.append(WORDS.get(kind, 'a text'))
    return ' or '.join([', '.join(words[:-1]), words[-1]] if words[:-1] else words)


def kinds(annotation: Any) -> tuple:
    """The member types of a union, or the type itself."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _line(recipe):
    parts = [f'hyperparameters: {recipe.source}']
    parts += [f'published: {recipe.published}'] * bool(recipe.published)
    parts += [f'here: {recipe.result}'] * bool(recipe.result)
    return f'{recipe.arguments}  ({"; ".join(parts)})'


def _keys(function):
    lines = []
    for key, argument in inspect.signature(function, eval_str=True).parameters.items():
        needed = argument.default is inspect.Parameter.empty
        value = 'empty' if argument.default == '' else argument.default
        default = 'needed' if needed else 'optional' if value is None else f'default {value}'
        lines.append(f'{key}: {allowed(argument.annotation)} ({default})')
    return lines
