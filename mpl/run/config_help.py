"""What a config file offers, as text: its methods, their arguments and values, its recipes."""

import inspect
import types
import typing
from types import ModuleType
from typing import Any, Literal

WORDS = {int: 'a whole number', float: 'a number', bool: 'true or false', str: 'a text'}


def show(shown: str, module: ModuleType) -> str:
    """The help of a config file.

    Args:
      shown: its path, as the user gives it.
      module: the file; each of its RECIPES, if it has any, has arguments, source, published and result.
    """
    heads = [*(module.__doc__ or '').strip().splitlines()[:1], '']
    if hasattr(module, 'METHODS'):
        lines = [f'--config={shown}:METHOD,KEY=VALUE,... with one of these methods:', '']
        for name, function in module.METHODS.items():
            lines += [f'  {name}', *_keys(function, '      ')]
    else:
        lines = [f'--config={shown}:KEY=VALUE,... with these keys:', '']
        lines += _keys(module.get_config, '  ') or ['  none']
    for number, recipe in enumerate(getattr(module, 'RECIPES', ())):
        lines += [] if number else ['', 'Recipes:', '']
        lines.append(f'  {shown}:{recipe.arguments}')
        lines.append(f'      hyperparameters: {recipe.source}')
        lines += [f'      published: {recipe.published}'] if recipe.published else []
        lines += [f'      test accuracy here: {recipe.result}'] if recipe.result else []
    return '\n'.join([*heads, *lines])


def allowed(annotation: Any) -> str:
    """The values of an argument, such as 'a whole number or all'."""
    words = []
    for kind in kinds(annotation):
        if typing.get_origin(kind) is Literal:
            words += [str(value) for value in typing.get_args(kind)]
        elif kind is not type(None):
            words.append(WORDS.get(kind, 'a text'))
    return ' or '.join([', '.join(words[:-1]), words[-1]] if words[:-1] else words)


def kinds(annotation: Any) -> tuple:
    """The types of a union, or the one type that it is."""
    is_union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if is_union else (annotation,)


def _keys(function, indent):
    lines = []
    for key, argument in inspect.signature(function, eval_str=True).parameters.items():
        needed = argument.default is inspect.Parameter.empty
        value = 'empty' if argument.default == '' else argument.default
        default = 'needed' if needed else 'optional' if value is None else f'default {value}'
        lines.append(f'{indent}{key}: {allowed(argument.annotation)} ({default})')
    return lines
