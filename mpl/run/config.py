"""Configs: read, overridden, completed, checked. The folders are the registry.

The sections and their keys are in schema.py; config files are found and called in config_files.py.
"""

import inspect
import json
import sys
from typing import Any

import ml_collections
from etils import epath

from mpl.run import config_files, overrides, records, schema, sections


def load(path: str, given: list[str]) -> ml_collections.ConfigDict:
    """The config of a Python file, with overrides, completed with every default.

    Args:
      path: of the file, and after a ':' its arguments, see config_files.py.
      given: overrides such as '--config.steps=2000', see overrides.py.

    Raises:
      ValueError: unknown file, argument or key, or a value of the wrong type.
      SystemExit: the argument is `help`; the help of the file was printed.
    """
    return _override(config_files.read(path), given)


def override(config: ml_collections.ConfigDict, given: list[str]) -> ml_collections.ConfigDict:
    """The complete config with overrides such as '--config.steps=2000'.

    Raises:
      ValueError: unknown key, or a value of the wrong type.
    """
    return _override(config.to_dict(), given)


def complete(config: dict) -> ml_collections.ConfigDict:
    """The config with defaults for all missing keys.

    Raises:
      ValueError: an unknown, missing or wrongly typed key; an unknown name.
    """
    sections.check_values(config, 'config')
    run = sections.complete(schema.Run, config, 'config')
    for section, kind in schema.PLAIN.items():
        run[section] = sections.complete(kind, run[section], section)
    for section, folder in schema.NAMED.items():
        if section != 'algorithm':
            runtime = schema.RUNTIME[folder]
            run[section] = sections.complete_named(folder, run[section], section, runtime)
    roles = tuple(run['networks'])
    run['networks'] = dict(run['networks'])
    run['algorithm'] = sections.complete_named(
        'algorithms', run['algorithm'], 'algorithm', roles, has_roles=True
    )
    for role in roles:
        where = f'networks.{role}'
        net = sections.complete(schema.network, run['networks'][role], where)
        for part in ('model', 'optimizer'):
            folder = part + 's'
            net[part] = sections.complete_named(
                folder, net[part], f'{where}.{part}', schema.RUNTIME[folder]
            )
        run['networks'][role] = net
    run['finetune']['optimizer'] = sections.complete_named(
        'optimizers', run['finetune']['optimizer'], 'finetune.optimizer', ('steps',)
    )
    if run['active']['rule']:
        run['active']['rule'] = sections.complete_named(
            'acquisition', run['active']['rule'], 'active.rule', schema.RUNTIME['acquisition']
        )
    shared = {key: run[key] for key in schema.SHARED}
    for section in schema.STAGES:
        if run[section]['config']:
            try:
                stage = complete(run[section]['config'] | shared)
            except ValueError as error:
                raise ValueError(f'{section}.config: {error}') from error
            run[section]['config'] = stage.to_dict()
    return ml_collections.ConfigDict(run).lock()


def seeded(config: ml_collections.ConfigDict, seed: int) -> ml_collections.ConfigDict:
    """A copy of the config with another seed."""
    return complete(config.to_dict() | {'seed': seed})


def read(path: epath.Path) -> ml_collections.ConfigDict:
    """The completed config of a run, from its config.json.

    Raises:
      ValueError: the file is missing or cannot be read.
    """
    if not path.exists():
        raise ValueError(f'{path.parent} holds no run (no config.json); give the --workdir of one.')
    record = records.read(
        path, 'the config of a run', 'restore it, or train again in another folder'
    )
    try:
        return complete(record)
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f'{path} is not the config of a run: {error}') from error


def build(folder: str, spec: dict, **runtime) -> Any:
    """Calls `make` of mpl/<folder>/<spec['name']>.py with the other keys of spec, and those of runtime it has.

    Raises:
      ValueError: `make` refuses the values.
    """
    given = {k: v for k, v in dict(spec).items() if k != 'name'}
    make = sections.find_module(folder, spec['name'], folder).make
    taken = inspect.signature(make).parameters
    try:
        return make(**given, **{name: value for name, value in runtime.items() if name in taken})
    except (TypeError, OverflowError, MemoryError) as error:
        raise ValueError(
            f'mpl/{folder}/{spec["name"]}.py cannot take these values: {error}.'
        ) from error


def differences(old: dict, new: dict, where: str = '') -> list[str]:
    """One line for each key that differs, 'steps: 100 -> 200'."""
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


def _override(config, given):
    changed, notes = overrides.apply(config, given)
    for note in notes:
        print(f'note: {note}', file=sys.stderr)
    return complete(changed)
