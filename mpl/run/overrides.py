"""Overrides of a config, such as --config.steps=2000 and --config.source.name=folder."""

import ast
import copy
import inspect
import json
from typing import Any, NamedTuple

from mpl.run import schema, sections


class Override(NamedTuple):
    """One key and its new value."""

    section: tuple[str, ...]  # 'networks', 'student', 'optimizer'; empty for keys of the run
    key: str
    value: Any

    @property
    def where(self) -> str:
        return '.'.join(('config', *self.section))


def apply(config: dict, overrides: list[str]) -> tuple[dict, list[str]]:
    """The config with the overrides applied, before it is completed and checked.

    Names are set first, in any order of the overrides: a section with a new name drops the keys
    that the new name does not have, and a new algorithm drops the networks that it does not use.
    Then the other keys are set.

    Returns:
      The config, and a sentence for each section that dropped keys.

    Raises:
      ValueError: an override is not of the form --config.KEY=VALUE, sets a whole section, or sets a key
        that the teacher's config copies from the run.
    """
    config, notes = _with_plain_sections(_copy(config)), []
    parsed = sorted(  # Names first, outer sections before inner ones.
        map(_parse, overrides),
        key=lambda one: (one.key != 'name', len(one.section) * (one.key == 'name')),
    )
    for one in parsed:
        parent = _open(config, one)
        if isinstance(parent.get(one.key), dict):
            raise ValueError(
                f'{one.where}.{one.key} is a section; set one of its keys: '
                f'{", ".join(parent[one.key]) or "see config.json"}.'
            )
        if one.key == 'name' and parent.get('name') not in (None, one.value):
            notes += _rename(config, parent, one)
        parent[one.key] = one.value
    return config, notes


def _copy(value):
    """A copy in which no two keys share a section, so that an override of one leaves the other."""
    if isinstance(value, dict):
        return {key: _copy(inner) for key, inner in value.items()}
    return copy.deepcopy(value)


def _parse(override):
    path, _, text = override.removeprefix('--config.').partition('=')
    *section, key = path.split('.')
    try:
        value = ast.literal_eval(text)
        json.dumps(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        value = {'true': True, 'false': False}.get(text, text)
    if (
        key in schema.SHARED
        and section[-1:] == ['config']
        and set(section[-2:]) & set(schema.STAGES)
    ):
        raise ValueError(
            f'config.{path} is copied from the run that this stage is trained for; '
            f'set --config.{key} instead.'
        )
    return Override(tuple(section), key, value)


def _with_plain_sections(config):
    """The config with all sections of schema.PLAIN, so that single keys of defaults can be set."""
    for section, kind in schema.PLAIN.items():
        given = config.get(section, {})
        if isinstance(given, dict):
            config[section] = copy.deepcopy(kind._field_defaults) | given
    for section in schema.STAGES:
        stage = config[section]
        if isinstance(stage, dict) and isinstance(stage['config'], dict) and stage['config']:
            stage['config'] = _with_plain_sections(stage['config'])
    return config


def _open(config, one):
    """The section of the override; adds missing sections on its path."""
    node, where = config, 'config'
    for part in one.section:
        if node.get(part) is None:
            node[part] = {}
        if not isinstance(node[part], dict):
            raise ValueError(f'{where}.{part} is {node[part]!r}, not a section with keys.')
        node, where = node[part], f'{where}.{part}'
    return node


def _rename(config, parent, one):
    """Drops the keys that a section does not have under its new name; returns a sentence if any."""
    make = _find(config, one)
    if make is None:
        return []
    dropped = [key for key in parent if key != 'name' and key not in sections.keys(make)]
    for key in dropped:
        del parent[key]
    if one.section[-1] == 'algorithm':
        networks = _open(config, one._replace(section=(*one.section[:-1], 'networks')))
        for role in [role for role in networks if role not in sections.roles(make)]:
            del networks[role]
            dropped.append(f'networks.{role}')
    if not dropped:
        return []
    return [
        f'{one.where}.name is {one.value!r} instead of {parent["name"]!r}, which drops '
        f'{", ".join(dropped)}.'
    ]


def _find(config, one):
    """The function whose arguments are the keys of the section under its new name, or None."""
    section, where = one.section, '.'.join(one.section)
    while section[1:2] == ('config',) and section[0] in schema.STAGES:
        section, config = section[2:], config[section[0]]['config']
    if not section:
        return None
    if section[0] in schema.NAMED and len(section) == 1:
        return sections.find_module(schema.NAMED[section[0]], one.value, where).make
    if section == ('active', 'rule'):
        return sections.find_module('acquisition', one.value, where).make
    if section[-1] in ('model', 'optimizer'):
        return sections.find_module(section[-1] + 's', one.value, where).make
    if section[0] in schema.NAMED and len(section) == 2:  # Such as views.strong.
        name = config[section[0]].get('name')
        outer = sections.find_module(schema.NAMED[section[0]], name, section[0]).make
        argument = inspect.signature(outer, eval_str=True).parameters.get(section[1])
        find = argument and sections.metadata(argument)
        if find and sections.is_by_name(find):
            return find(one.value)
    return None
