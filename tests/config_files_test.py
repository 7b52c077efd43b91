"""Config files: found from any folder, called with arguments, refused with what is allowed."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from etils import epath
from PIL import Image

from mpl.comparison import runs
from mpl.run import config as configs
from mpl.run import config_files, stages
from mpl.run import experiment as experiments

ROOT = pathlib.Path(__file__).parent.parent
FILE = """
import ml_collections

def get_config(steps: int = 20):
    return ml_collections.ConfigDict(dict(steps=steps))
"""
METHODS = """
from typing import Literal

import ml_collections

from . import released

def one(labels: int | Literal['all'] = 40, rate: float = 0.1, mirror: bool = True, text: str = ''):
    return ml_collections.ConfigDict(dict(got=(labels, rate, mirror, text), where=released.WHERE))

METHODS = {'one': one}
"""


def run(arguments, cwd, **environment):
    return subprocess.run(
        [sys.executable, '-m', 'mpl.train', *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        env=os.environ | {'PYTHONPATH': str(ROOT)} | environment,
    )


@pytest.fixture
def methods(tmp_path):
    (tmp_path / 'released.py').write_text("WHERE = 'beside'")
    path = tmp_path / 'm.py'
    path.write_text(METHODS)
    return path


def test_values_are_read_by_their_annotations(methods):
    def got(arguments):
        return tuple(config_files.read(f'{methods}:one{arguments}')['got'])

    assert got('') == (40, 0.1, True, '')
    assert got(',mirror=false,labels=7,rate=2') == (7, 2.0, False, '')
    assert got(',labels=all,text=a=b:c') == ('all', 0.1, True, 'a=b:c')
    assert got(",text='a, b',labels=3") == (3, 0.1, True, 'a, b')
    assert got(""",text="it's" """.rstrip()) == (40, 0.1, True, "it's")


REFUSED = {
    '': 'needs a method; choose one of one.',
    ':two': "has no method 'two'; choose one of one.",
    ':one,label=3': "one has no argument 'label=3'; allowed: labels, rate, mirror, text.",
    ':one,7': "one has no argument '7'; allowed: labels",
    ':one,labels=many': "labels is 'many'; give a whole number or all.",
    ':one,rate=fast': "rate is 'fast'; give a number.",
    ':one,mirror=1': "mirror is '1'; give true or false.",
    ':one,labels=1,labels=2': 'one has labels twice; give it once.',
    ":one,text='a": 'A quote in "one,text=\'a" is not closed',
}


@pytest.mark.parametrize('arguments', REFUSED)
def test_a_wrong_argument_lists_what_is_allowed(arguments, methods):
    with pytest.raises(ValueError) as caught:
        config_files.read(f'{methods}{arguments}')
    sentence, _, listed = str(caught.value).partition('\n\n')
    assert REFUSED[arguments] in sentence and '\n' not in sentence
    assert f'--config={methods}:METHOD,KEY=VALUE' in listed
    assert 'labels: a whole number or all (default 40)' in listed


def test_help_lists_methods_keys_and_recipes(tmp_path):
    done = run(['--config=configs/cifar10.py:help'], ROOT)
    assert done.returncode == 0 and done.stderr == ''
    assert run(['--config', 'configs/cifar10.py:help', '--workdir=x'], ROOT).stdout == done.stdout
    for text in ('fixmatch, flexmatch', 'hyperparameters: released or paper (default released)'):
        assert text in done.stdout
    assert 'mpl  (hyperparameters: configs/released.py; published: 96.11 ± 0.07 %' in done.stdout
    wrong = run(['--config=configs/cifar10.py:fixmach', f'--workdir={tmp_path}/x'], ROOT)
    assert wrong.returncode == 2 and wrong.stdout == ''
    assert wrong.stderr.startswith("error: configs/cifar10.py has no method 'fixmach'; choose one")
    assert wrong.stderr.endswith(done.stdout) and not (tmp_path / 'x').exists()


def test_a_refusal_of_the_recipe_itself_is_a_sentence():
    with pytest.raises(ValueError, match='is refused: the released code has no setting with all'):
        configs.load('configs/imagenet.py:mpl,labels=all', [])
    with pytest.raises(ValueError, match='is refused: labels is 0; give a number above 0, or all'):
        configs.load('configs/digits.py:uda,labels=0', [])


def test_commands_find_the_projects_configs_from_any_folder(tmp_path):
    """Another package `configs`, with files of the same names, is neither taken nor in the way."""
    other = tmp_path / 'configs'
    other.mkdir()
    for name in ('__init__', 'recipes', 'released'):
        (other / f'{name}.py').write_text('raise RuntimeError("another package")')
    arguments = ['--config=configs/cifar10.py:mpl', '--workdir=x', '--config.steps=x']
    done = run(arguments, tmp_path)
    assert done.returncode == 2 and "error: config.steps is 'x'" in done.stderr, done.stderr
    assert f'note: configs/cifar10.py is that of {ROOT}.' in done.stderr
    (other / 'cifar10.py').write_text(FILE)
    done = run(['--config=configs/cifar10.py', '--workdir=x'], tmp_path)
    assert 'note' not in done.stderr and "config lacks the key 'source'" in done.stderr


def test_files_import_those_beside_them(methods, monkeypatch):
    """Not those of the same name that were imported before, from another folder."""
    configs.load('configs/cifar10.py:mpl', [])
    assert config_files.read(f'{methods}:one')['where'] == 'beside'


ODD = [
    'a:b.py',
    'lr[0.1].py',
    '$x$ & y.py',
    '~.py',
    "it's.py",
    '...py',
    'caf\udce9.py',
    'ä.b.py',
    'x=1,.py',
]


@pytest.mark.parametrize('name', ODD)
def test_any_name_of_a_file_works_and_makes_a_plain_folder(name, tmp_path):
    path = tmp_path / name
    path.write_text(FILE)
    assert config_files.read(str(path)) == {'steps': 20}
    assert config_files.read(f'{path}:steps=7') == {'steps': 7}
    folder = config_files.name(f'{path}:steps=7')
    assert folder not in ('.', '..') and not set(folder) & set('/[]$:~*?\'" &')
    assert folder.isprintable() and folder.endswith('-steps=7') and not folder.startswith('.')
    (tmp_path / 'runs' / folder).mkdir(parents=True)


def test_what_is_no_config_file_is_refused(tmp_path):
    (tmp_path / 'c.json').write_text('{}')
    with pytest.raises(ValueError, match=r'c.json is no Python file; give one that ends in .py'):
        config_files.read(str(tmp_path / 'c.json'))
    (tmp_path / 'exit.py').write_text('raise SystemExit(0)')
    with pytest.raises(ValueError, match='exit.py gives no config .SystemExit'):
        config_files.read(str(tmp_path / 'exit.py'))
    (tmp_path / 'late.py').write_text('def get_config(): raise SystemExit(0)')
    with pytest.raises(ValueError, match='late.py gives no config .SystemExit'):
        config_files.read(str(tmp_path / 'late.py'))
    with pytest.raises(ValueError, match='too long for a folder'):
        config_files.name('configs/folder.py:uda,path=' + 'x' * 300)


def test_names_have_the_arguments_in_one_order():
    name = config_files.name
    assert name('configs/digits.py:mpl') == 'digits-mpl'
    assert (
        name('configs/digits.py:mpl,feedback=dot,labels=20')
        == name('configs/digits.py:mpl,labels=20,feedback=dot')
        == 'digits-mpl,labels=20,feedback=dot'
    )
    assert name('configs/imagenet.py:uda,labels=10%') == 'imagenet-uda,labels=10%'
    assert name("configs/folder.py:uda,path='a/b, c'") == 'folder-uda,path=a-b,-c'
    assert name('configs/smoke.py') == 'smoke'
    assert name('configs/laptop.py:uda,budget=3e12') == 'laptop-uda,budget=3e+12'
    assert name('configs/laptop.py:uda,budget=1234567.5') == 'laptop-uda,budget=1234567.5'


def test_a_config_is_compared_once():
    with pytest.raises(ValueError, match='are the same config; give it once'):
        runs.load(['configs/digits.py:mpl', 'configs/digits.py:mpl,labels=40'], [])
    with pytest.raises(ValueError, match='are the same config; give it once'):
        runs.load(
            ['configs/digits.py:mpl', 'configs/digits.py:mpl,labels=20'],
            ['--config.split.labels=30'],
        )


def test_images_of_ones_own_train_from_any_path(tmp_path, fast_compile):
    """With a comma and a colon in the path and a class folder of odd name."""
    rng, path = np.random.default_rng(0), tmp_path / 'my photos, 1:2'
    for part, count in (('labeled/$a$', 4), ('labeled/b', 4), ('unlabeled', 8), ('test/b', 2)):
        (path / part).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
            Image.fromarray(pixels).save(path / part / f'{number}.png')
    small = ['networks.student.model.depth=10', 'networks.student.model.width=1']
    small += ['batch.labeled=8', 'batch.unlabeled=8', 'batch.evaluate=8']
    config = configs.load(
        f"configs/folder.py:fixmatch,path='{path}',size=16,steps=2",
        [f'--config.{s}' for s in small],
    )
    report = stages.run(config, epath.Path(tmp_path) / 'run')
    assert report['split']['unlabeled'] == 16
    assert 0 <= report['networks']['student_ema']['test']['accuracy'] <= 1
    other = configs.load(
        'configs/cifar10.py:uda,labels=8',
        [f'--config.source.path={path}', '--config.source.name=folder', '--config.source.size=16']
        + ['--config.split.validation=0', '--config.batch.evaluate=8'],
    )
    assert experiments.assemble(other).source.classes == ('$a$', 'b')


def test_folder_config_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match='weights is for model=resnet50, .*model=vit_s.*; add one'):
        configs.load('configs/folder.py:uda,weights=w.safetensors', [])
    for train in ('head', 'lora'):
        with pytest.raises(ValueError, match=f'train={train} needs weights='):
            configs.load(f'configs/folder.py:uda,train={train}', [])
    with pytest.raises(ValueError, match='logits is for the method distill; uda has no teacher'):
        configs.load('configs/folder.py:uda,logits=a.npy', [])
