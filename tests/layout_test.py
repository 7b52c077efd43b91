"""The shape of the house: what may import what, and that every config is a working one."""

import ast
import pathlib
import re

import jax
import pytest

from mpl import config as configs
from mpl import experiment as experiments

ROOT = pathlib.Path(__file__).parent.parent
LEAVES = ('losses', 'schedules', 'optimizers', 'models', 'data', 'augment')
# What a file or folder of mpl/ may import of mpl/, besides itself.
ALLOWED = {name: {'schedules'} if name == 'optimizers' else set() for name in LEAVES} | {
    'algorithms': {'algorithm', 'network', 'losses', 'schedules'},
    'network': set(),
    'algorithm': {'network'},
}
CONFIGS = sorted(p for p in (ROOT / 'configs').glob('*.py') if 'def get_config' in p.read_text())


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


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_config_traces_a_full_step(path):
    experiment = experiments.assemble(configs.load(str(path), []), jax.devices()[:1])
    state, metrics = jax.eval_shape(
        experiment.algorithm.update, experiment.state, experiment.batch, 0, jax.random.key(0)
    )
    assert jax.tree.map(lambda s: (s.shape, s.dtype), state) == jax.tree.map(
        lambda s: (s.shape, s.dtype), experiment.state
    )
    assert metrics


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_every_config_says_how_it_is_run(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert 'python -m mpl.train --config=configs/' + path.stem in text
