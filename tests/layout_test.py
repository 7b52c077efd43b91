"""The shape of the house: what may import what, and that every config is a working one."""

import ast
import json
import pathlib
import re

import jax
import pytest

from configs import table
from mpl.parallel import sharding
from mpl.planning import footprint
from mpl.run import config as configs
from mpl.run import config_files
from mpl.run import experiment as experiments

ROOT = pathlib.Path(__file__).parent.parent
LEAVES = ('losses', 'schedules', 'optimizers', 'models', 'data', 'augment')
# What a file or folder of mpl/ may import of mpl/, besides itself.
ALLOWED = {name: set() for name in LEAVES} | {
    'optimizers': {'schedules'},
    'augment': {'spatial'},
    'algorithms': {'algorithm', 'feedback', 'network', 'losses', 'schedules'},
    'feedback': {'algorithm', 'network', 'losses'},
    'models': {'spatial'},
    'network': {'spatial'},
    'spatial': set(),
    'algorithm': {'network'},
}
MODULES = config_files.modules(ROOT / 'configs')


def imported(path):
    """The parts of mpl that a file imports."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names += [f'{node.module}.{alias.name}' for alias in node.names]
    return {name.split('.')[1] for name in names if name.startswith('mpl.')}


@pytest.mark.parametrize('part', ALLOWED)
def test_imports(part):
    files = list((ROOT / 'mpl' / part).glob('*.py')) or [ROOT / 'mpl' / f'{part}.py']
    for path in files:
        assert imported(path) <= ALLOWED[part] | {part}, path


def test_no_algorithm_names_a_collection_or_applies_a_module():
    for path in (ROOT / 'mpl' / 'algorithms').glob('*.py'):
        assert not re.search(r"\.apply\(|'params'|'batch_stats'|isinstance", path.read_text()), path


def test_nothing_outside_of_the_algorithms_knows_one():
    names = [p.stem for p in (ROOT / 'mpl' / 'algorithms').glob('[a-z]*.py') if p.stem != 'mpl']
    for path in (ROOT / 'mpl').rglob('*.py'):
        if path.parent.name == 'algorithms':
            continue
        for name in names:
            if (path.stem, name) == ('report', 'supervised'):
                continue  # The last stage is labels only, by definition.
            strings = [
                n.value
                for n in ast.walk(ast.parse(path.read_text()))
                if isinstance(n, ast.Constant) and isinstance(n.value, str)
            ]
            assert name not in strings, (path, name)


RECIPES = [
    f'{stem}.py:{recipe.arguments}'
    for stem, module in MODULES.items()
    for recipe in getattr(module, 'RECIPES', ())
] + ['smoke.py']


# Keys whose values change sizes and numbers alone, not which operations a step has.
ALIKE = ('operations', 'variant', 'width', 'patch', 'cutout', 'size')


def structure(part):
    """What of a config a trace depends on: names, and which numbers are 0, not which they are."""
    if isinstance(part, dict):
        return {
            key: bool(value) if key.endswith('steps') else structure(value)
            for key, value in part.items()
            if key not in ALIKE
        }
    if isinstance(part, (list, tuple)) and part and isinstance(part[0], float):
        return len(part)
    return bool(part) if isinstance(part, float) else part


def trace(config, source):
    """The shapes before and after a step of the config, and those of its metrics."""
    experiment = experiments.assemble(config, jax.devices()[:1], source)
    # Without the places of arrays, so that the trace is the one that `assemble` has made.
    before = jax.tree.map(lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype), experiment.state)
    after, metrics = jax.eval_shape(
        experiment.algorithm.update, before, experiment.batch, 0, jax.random.key(0)
    )
    return before, after, metrics


TRACES = {}  # by structure


@pytest.mark.parametrize('recipe', RECIPES)
def test_every_config_is_built_and_every_structure_traces_a_full_step(recipe):
    """At full size, on abstract values: of configs that differ in numbers alone, the first is traced."""
    config = configs.load(f'{ROOT}/configs/{recipe}', ['--config.mesh.model=1'])
    source = footprint.stand_in(config, 2000) or configs.build('data', config.source)
    experiments.build(config, source, sharding.make_mesh(jax.devices()[:1], 1))
    given = config.to_dict()
    key = structure({name: given[name] for name in ('networks', 'algorithm')})
    key |= {'taught': bool(given['teacher']['config'])}
    key['image'] = 'cut' if 'size' in given['views'] else source.image_shape
    key['views'] = [structure(given['views'].get(part)) for part in ('strong', 'mix')]
    key['batch'] = {name: bool(size) for name, size in given['batch'].items()}
    key = json.dumps(key, sort_keys=True)
    if key not in TRACES:
        TRACES[key] = trace(config, source)
    before, after, metrics = TRACES[key]
    assert jax.tree.map(lambda s: (s.shape, s.dtype), after) == jax.tree.map(
        lambda s: (s.shape, s.dtype), before
    )
    assert metrics


@pytest.mark.parametrize('stem', MODULES)
def test_every_config_file_shows_commands_that_work(stem):
    commands = re.findall(r'python -m mpl\.train --config=(\S+)', MODULES[stem].__doc__)
    assert commands and all(path.startswith(f'configs/{stem}.py') for path in commands)
    for path in commands:
        configs.load(path, [])


def test_every_method_has_a_recipe_and_no_two_recipes_are_one():
    for stem, module in MODULES.items():
        recipes = [recipe for recipe in RECIPES if recipe.startswith(f'{stem}.py:')]
        methods = {recipe.partition(':')[2].split(',')[0] for recipe in recipes}
        assert methods == set(getattr(module, 'METHODS', ())), stem
        texts = [configs.to_json(configs.load(f'{ROOT}/configs/{r}', [])) for r in recipes]
        assert len(set(texts)) == len(texts), stem


def test_the_table_of_recipes_is_that_of_the_configs():
    """Made again by the command at its head."""
    assert (ROOT / 'docs' / 'recipes.md').read_text() == table.text()
