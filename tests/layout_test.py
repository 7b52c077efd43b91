"""The shape of the house: what may import what, and that every config is a working one."""

import ast
import json
import pathlib
import re

import chex
import jax
import pytest

from configs import table
from mpl.parallel import sharding
from mpl.planning import footprint
from mpl.run import config as configs
from mpl.run import config_files, smoke
from mpl.run import experiment as experiments

ROOT = pathlib.Path(__file__).parent.parent
MPL = ROOT / 'mpl'
# Packages from the bottom up; each may import those of lower floors and itself. Commands, the
# files of mpl/ itself, stand on top of all and are imported by nothing.
FLOORS = (
    ('parallel',),
    ('augment', 'data', 'models', 'optimizers'),
    ('acquisition', 'algorithms'),
    ('run',),
    ('exports', 'labeling', 'planning'),
    ('cycles',),
    ('comparison',),
    ('pages',),
)
PACKAGES = [package for floor in FLOORS for package in floor]
# Of lower packages these need less than all.
ALLOWED = {
    'augment': {'parallel.spatial'},
    'models': {'parallel.spatial'},
    'optimizers': set(),
    'acquisition': set(),
    'algorithms': {
        'augment.lab',
        'models.batch_statistics',
        'models.layers',
        'models.network',
        'optimizers.backbone',
        'optimizers.schedules',
    },
}
MODULES = config_files.modules(ROOT / 'configs')


def imported(path):
    """The modules and packages of mpl that a file imports: 'data.source', or 'train'."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert not node.level, path
            for alias in node.names:
                below = MPL.parent / f'{node.module}.{alias.name}'.replace('.', '/')
                is_module = below.is_dir() or below.with_suffix('.py').exists()
                names.add(f'{node.module}.{alias.name}' if is_module else node.module)
    return {name.removeprefix('mpl.') for name in names if name.startswith('mpl.')}


def test_every_package_has_a_floor_and_commands_are_the_only_files_above():
    assert sorted(PACKAGES) == sorted(p.parent.name for p in MPL.glob('*/__init__.py'))
    for path in MPL.glob('*.py'):
        if path.stem != '__init__':
            assert "if __name__ == '__main__':" in path.read_text(), path
            assert len(path.read_text().splitlines()) <= 160, path


@pytest.mark.parametrize('package', PACKAGES)
def test_imports_run_downstairs(package):
    floor = next(n for n, packages in enumerate(FLOORS) if package in packages)
    below = {name for packages in FLOORS[:floor] for name in packages}
    for path in (MPL / package).rglob('*.py'):
        for name in imported(path):
            at = name.split('.')[0]
            assert at in below | {package}, (path, name)
            if at != package and package in ALLOWED:
                assert name in ALLOWED[package], (path, name)


def test_no_command_imports_another():
    for path in MPL.glob('*.py'):
        for name in imported(path):
            assert name.split('.')[0] in PACKAGES, (path, name)


def test_no_algorithm_names_a_collection_or_applies_a_module():
    for path in (ROOT / 'mpl' / 'algorithms').glob('*.py'):
        assert not re.search(r"\.apply\(|'params'|'batch_stats'|isinstance", path.read_text()), path


def test_nothing_outside_of_the_algorithms_knows_one():
    rules = (ROOT / 'mpl' / 'algorithms').glob('[a-z]*.py')
    names = [p.stem for p in rules if p.stem != 'mpl' and 'def make(' in p.read_text()]
    for path in (ROOT / 'mpl').rglob('*.py'):
        if path.parent.name == 'algorithms':
            continue
        strings = {
            n.value
            for n in ast.walk(ast.parse(path.read_text()))
            if isinstance(n, ast.Constant) and isinstance(n.value, str)
        }
        # The last stage is labels only, by definition.
        known = strings.intersection(names) - ({'supervised'} if path.stem == 'stages' else set())
        assert not known, (path, known)


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
FIRST = {recipe.partition(':')[0]: recipe for recipe in reversed(RECIPES)}  # of each file


def with_small_networks(config):
    """The config with networks of few layers; the rest, images and batches too, at full size."""
    given, small = config.to_dict(), smoke.shrink(config)
    for role, net in given['networks'].items():
        net['model'] = small.networks[role].model.to_dict()
    return configs.complete(given)


@pytest.mark.parametrize('recipe', RECIPES)
def test_every_config_is_built_and_every_structure_traces_a_full_step(recipe):
    """On abstract values: of configs that differ in numbers alone, the first is traced.

    All are built at full size. The step of the first recipe of each file is traced at full size, those of
    others with small networks, since tracing a deep network takes seconds.
    """
    config = configs.load(f'{ROOT}/configs/{recipe}', ['--config.mesh.model=1'])
    split, queue = config.split, config.algorithm.queue if 'queue' in config.algorithm else 0
    unlabeled = max(2000, config.batch.unlabeled, queue)
    examples = split.labels + split.validation + unlabeled
    source = footprint.stand_in(config, examples) or configs.build('data', config.source)
    experiments.build(config, source, sharding.make_mesh(jax.devices()[:1], 1))
    if recipe not in FIRST.values():
        config = with_small_networks(config)
    given = config.to_dict()
    key = structure({name: given[name] for name in ('networks', 'algorithm')})
    key |= {'taught': bool(given['teacher']['config'])}
    cut = 'size' in given['views'] and given['views']['size']
    key['image'] = 'cut' if cut else source.image_shape
    key['views'] = [structure(given['views'].get(part)) for part in ('strong', 'mix')]
    key['batch'] = {name: bool(size) for name, size in given['batch'].items()}
    key = json.dumps(key, sort_keys=True)
    if key not in TRACES:
        TRACES[key] = trace(config, source)
    before, after, metrics = TRACES[key]
    chex.assert_trees_all_equal_shapes_and_dtypes(after, before)
    assert metrics


@pytest.mark.parametrize('stem', MODULES)
def test_every_config_file_shows_commands_that_work(stem):
    commands = re.findall(r'python -m mpl\.(?:train|active) --config=(\S+)', MODULES[stem].__doc__)
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
