"""Every command of README.md, docs/ and launch/README.md, and the examples of docs/extending.md.

Commands in blocks marked `bash` run, at small size and in the order of the pages: mpl.train (images in
folders, digits, a selected split), evaluate, predict (a folder, a split, logits, an exported file), select,
compare, plan, active, export, report and label.
Commands in blocks marked `sh`, and those within a sentence, are checked: bash expands them, their module
parses the arguments, and the data, split, views, networks and algorithm of each config are built.
tests/layout_test.py traces a step of every recipe. A command that is on several pages is taken once.
"""

import argparse
import importlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import conftest
import jax
import numpy as np
import pytest
from PIL import Image

from mpl import train
from mpl.acquisition import interface
from mpl.data import open_set
from mpl.parallel import sharding
from mpl.planning import chips, footprint
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import smoke

ROOT = pathlib.Path(__file__).parent.parent
PAGES = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md')), ROOT / 'launch' / 'README.md']
# What a page may call; anything else is 'command not found'.
PROGRAMS = ('python', 'pip', 'bash', 'source', 'gcloud', 'uvx', 'docker')
# A step on images of 32x32 takes long.
STEPS = {
    'configs/digits.py': 60,
    'configs/digits_active.py': 60,
    'configs/digits_stages.py': 60,
    'configs/folder.py': 6,
}
WRITTEN = ('output', 'features', 'logits', 'json')  # arguments of mpl.predict and mpl.select


class Parsed(Exception):
    """Ends a command once it has parsed its arguments, which are the exception's."""


def expand(text):
    """The commands of a script as tuples of words, as bash expands them. None is run."""
    stubs = ''.join(f'{name}() {{ record {name} "$@"; }}\n' for name in PROGRAMS)
    record = 'record() { printf "%s\\x1f" "$@"; printf "\\x1e"; }\n'
    done = subprocess.run(
        [shutil.which('bash'), '-c', f'set -euo pipefail\n{record}{stubs}{text}'],
        env={'PATH': ''},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, f'{text}\n{done.stderr}'
    return [tuple(words.split('\x1f')[:-1]) for words in done.stdout.split('\x1e')[:-1]]


def find():
    """The commands of all pages in order, each once, and whether it runs."""
    found = {}
    for page in PAGES:
        text = page.read_text()
        for kind, block in re.findall(r'```(bash|sh)\n(.*?)```', text, re.S):
            for words in expand(block):
                found[words] = found.get(words, False) or kind == 'bash'
        for line in re.findall(r'`((?:python -m|bash launch/)[^`]*)`', text):
            if '...' not in line:  # Else a form, not a command.
                for words in expand(line.replace('\n', ' ').split(' > ')[0]):
                    found.setdefault(words, False)
    return found


COMMANDS = find()
PYTHON = {words: runs for words, runs in COMMANDS.items() if words[:2] == ('python', '-m')}


def small(words):
    """The command with few steps, one seed and at most two configs."""
    words = ['--seeds=1' if word.startswith('--seeds=') else word for word in words]
    if '--configs' in words:
        words = words[: words.index('--configs') + 3]
    trains = words[2] in ('mpl.train', 'mpl.compare', 'mpl.active') and '--smoke' not in words
    return [sys.executable, *words[1:], *(few_steps(words) if trains else [])]


def few_steps(words):
    (steps,) = {steps for path, steps in STEPS.items() if path in ' '.join(words)}
    intervals = {'log': steps // 3, 'evaluate': steps, 'save': steps}
    overrides = {'steps': steps} | {f'every.{name}': n for name, n in intervals.items()}
    return [f'--config.{name}={value}' for name, value in overrides.items()]


def parse(words, monkeypatch):
    """What `python -m MODULE ARGUMENTS` makes of its arguments: a namespace, and the overrides of a config."""
    is_package = importlib.util.find_spec(words[2]).submodule_search_locations
    module = importlib.import_module(f'{words[2]}.__main__' if is_package else words[2])
    if not hasattr(module, 'main'):
        assert not words[3:], f'{words[2]} takes no arguments.'
        return argparse.Namespace(), []
    original = argparse.ArgumentParser.parse_known_args

    def stop(*arguments, **keywords):
        raise Parsed(*original(*arguments, **keywords))

    monkeypatch.setattr(argparse.ArgumentParser, 'parse_known_args', stop)
    monkeypatch.setattr(sys, 'argv', list(words[2:]))
    with pytest.raises(Parsed) as parsed:
        getattr(module, 'parse', module.main)()
    return parsed.value.args


def build(path, overrides, is_smoke=False):
    """Builds every part of a config; images of prepared data sets are black ones of the same form."""
    config = configs.load(path, overrides)
    if is_smoke:
        experiments.assemble(smoke.shrink(config), jax.devices()[:1])
        return
    if config.source.name == 'tfds':
        source = footprint.stand_in(config, 2000)
    else:
        source = configs.build('data', config.source)
    source = open_set.hide(source, config.split.unlabeled_only)
    experiments.build(config, source, sharding.make_mesh(jax.devices()[:1]))


@pytest.fixture(scope='module')
def workspace(tmp_path_factory):
    """The folder in which commands run, with images in folders and the files of docs/extending.md."""
    root, random = tmp_path_factory.mktemp('workspace'), np.random.RandomState(0)
    parts = [f'photos/{p}/{c}' for p in ('labeled', 'validation', 'test') for c in ('cat', 'dog')]
    for part in (*parts, 'photos/unlabeled', 'new_photos'):
        (root / part).mkdir(parents=True)
        for number in range(12):
            image = Image.fromarray(random.randint(0, 256, (40, 40, 3), np.uint8))
            image.save(root / part / f'{number}.png')
    with pytest.MonkeyPatch.context() as patch:
        page = (ROOT / 'docs' / 'extending.md').read_text()
        for code in re.findall(r'```python\n(.*?)```', page, re.S):
            file = root / code.splitlines()[0].removeprefix('# ')
            file.parent.mkdir(parents=True)
            file.write_text(code)
            if file.parent.name != 'configs':
                package = importlib.import_module(f'mpl.{file.parent.name}')
                patch.setattr(package, '__path__', [*package.__path__, str(file.parent)])
        patch.chdir(root)
        yield root


@pytest.mark.parametrize('words', [w for w, runs in PYTHON.items() if runs], ids=' '.join)
def test_command_runs(words, workspace):
    environment = os.environ | conftest.HASTE | {'PYTHONPATH': str(ROOT)}
    done = subprocess.run(
        small(words), cwd=workspace, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for word in words:
        name, _, path = word.partition('=')
        if name.removeprefix('--') in WRITTEN:
            assert (workspace / path).stat().st_size > 0
        if name == '--workdir' and words[2] == 'mpl.train':
            assert (workspace / path / 'report.json').stat().st_size > 0


@pytest.mark.parametrize('words', [w for w, runs in PYTHON.items() if not runs], ids=' '.join)
def test_command_is_accepted(words, workspace, monkeypatch):
    given, overrides = parse(words, monkeypatch)
    assert all(word.startswith('--config.') for word in overrides), overrides
    given = vars(given)
    for path in given.get('configs') or filter(None, [given.get('config')]):
        build(path, overrides, given.get('smoke'))
    if given.get('topology', 'local') != 'local':
        chips.parse(given['topology'])


@pytest.mark.parametrize('words', [w for w in COMMANDS if w[0] in ('bash', 'pip')], ids=' '.join)
def test_files_and_configs_of_other_commands_are_there(words):
    for word in words[1:]:
        if word.startswith(('launch/', 'benchmarks/', 'tests/')):
            assert (ROOT / word).is_file(), word
    overrides = [word for word in words if word.startswith('--config.')]
    for word in words:
        if word.startswith('--config='):
            build(word.removeprefix('--config='), overrides)


def test_one_command_of_each_kind_runs():
    commands = {f'mpl.{path.stem}' for path in (ROOT / 'mpl').glob('*.py')} - {'mpl.__init__'}
    assert {words[2] for words, runs in PYTHON.items() if runs} == commands


def test_the_acquisition_rule_of_the_page_chooses(workspace):
    features = np.random.RandomState(0).randn(50, 3)
    labeled = np.arange(50) < 10
    found = interface.choose(
        interface.find('far')(), features, np.zeros((0, 50, 2)), labeled, ~labeled, 5, None
    )
    distance = np.linalg.norm(features[10:, None] - features[:10], axis=-1).min(1)
    np.testing.assert_array_equal(found, 10 + np.argsort(-distance)[:5])


def test_the_examples_of_the_page_train(workspace, monkeypatch):
    words = ['mpl.train', '--config=configs/rings.py:labels=40', '--workdir=runs/rings']
    monkeypatch.setattr(sys, 'argv', words)
    train.main()
    report = json.loads((workspace / 'runs' / 'rings' / 'report.json').read_text())
    assert report['networks']['student']['test']['accuracy'] > 0.9
    metrics = (workspace / 'runs' / 'rings' / 'metrics.jsonl').read_text()
    assert 'loss/unlabeled' in metrics
