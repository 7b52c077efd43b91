"""Every command of the README at small size, and its example of a new method."""

import os
import pathlib
import re
import shlex
import subprocess
import sys

import jax
import pytest

import mpl.algorithms
from mpl.data import batches
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import loop

ROOT = pathlib.Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text()
COMMANDS = [
    line for block in re.findall(r'```bash\n(.*?)```', README, re.S) for line in block.splitlines()
]
SMALL = [
    f'--config.{number}'
    for number in ('steps=60', 'every.log=20', 'every.evaluate=60', 'every.save=60')
]


def small(line, runs):
    """The command with few steps, one seed and at most two configs, writing under `runs`."""
    words = [
        re.sub('^--(output|features|logits|config.split.file)=', rf'--\g<1>={runs}/', word)
        for word in shlex.split(line)
    ]
    words = [re.sub('^--workdir=runs', f'--workdir={runs}', word) for word in words]
    words = [re.sub('^--seeds=.*', '--seeds=1', word) for word in words]
    if '--configs' in words:
        words = words[: words.index('--configs') + 3]
    trains = words[2] in ('mpl.train', 'mpl.compare') and '--smoke' not in words
    more = SMALL if trains else []
    return [sys.executable, *words[1:], *more]


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    return tmp_path_factory.mktemp('runs')


def test_the_scripts_are_there():
    for line in COMMANDS:
        if line.startswith('bash '):
            assert (ROOT / line.split()[1]).is_file()


@pytest.mark.parametrize('line', [c for c in COMMANDS if c.startswith('python')])
def test_command(line, runs):
    # One device, as a user has; eight take longer to compile for, and so does a fast program.
    environment = os.environ | {'XLA_FLAGS': '', 'JAX_DISABLE_MOST_OPTIMIZATIONS': '1'}
    done = subprocess.run(
        small(line, runs), cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for word in shlex.split(line):
        name, _, path = word.partition('=')
        if name in ('--output', '--features', '--logits'):
            assert (runs / path).stat().st_size > 0


def test_the_method_of_the_readme_trains(tmp_path, monkeypatch):
    (code,) = re.findall(r'```python\n(.*?)```', README, re.S)
    (tmp_path / 'my_fixmatch.py').write_text(code)
    monkeypatch.setattr(mpl.algorithms, '__path__', [*mpl.algorithms.__path__, str(tmp_path)])
    given = configs.load('configs/digits.py:uda', []).to_dict()
    config = configs.complete(
        given | {'algorithm': {'name': 'my_fixmatch', 'threshold': 0.2}, 'steps': 100}
    )
    experiment = experiments.assemble(config)
    steps, resident = loop.make_steps(experiment), batches.resident(experiment.pipeline)
    fetch, state = batches.make_fetch(experiment.pipeline, 10), experiments.initialize(experiment)
    values = []
    for step in range(0, 100, 10):
        state, metrics = steps(state, resident, fetch(step), jax.random.key(0))
        values.append(float(metrics['loss/unlabeled'].mean()))
    assert values[-1] < values[0]


def test_the_tree_is_the_tree():
    tree = README.split('```\nmpl/\n', 1)[1].split('```', 1)[0]
    for name in re.findall(r'\b(\w+\.py)\b', tree.split('configs/')[0]):
        assert (ROOT / 'mpl' / name).is_file(), name
    for path in (ROOT / 'mpl').glob('*.py'):
        assert path.name in tree or path.name == '__init__.py', path.name
