"""Configs: completed, overridden, refused with one sentence."""

import copy
import re
import subprocess
import sys

import pytest
from etils import epath

from mpl.run import config as configs
from mpl.run import config_files, stages
from mpl.run import experiment as experiments

SMOKE = 'configs/smoke.py'


def test_every_default_is_written_down():
    config = configs.load(SMOKE, [])
    assert config.algorithm.feedback == 'exact'
    assert config.networks.student.optimizer.nesterov is True
    assert config.finetune.optimizer.name == 'sgd'
    given = config.to_dict()
    given['networks']['student']['model']['widths'] = [32]  # As JSON has it.
    before = copy.deepcopy(given)
    assert configs.complete(given) == config
    assert given == before


def test_an_override_of_one_network_leaves_the_others():
    """Config files may give several roles one dict."""
    given = ['--config.networks.teacher.model.channels=(4,4,4)']
    networks = configs.load('configs/digits.py:mpl', given).networks
    assert networks.teacher.model.channels == (4, 4, 4)
    plain = configs.load('configs/digits.py:mpl', []).networks
    assert networks.student == plain.student and plain.student.model.channels != (4, 4, 4)


def test_overrides_reach_any_number():
    config = configs.load(
        SMOKE,
        [
            '--config.steps=7',
            '--config.algorithm.feedback=off',
            '--config.split.labels=30',
            '--config.networks.teacher.model.widths=(8,4)',
            '--config.networks.student.optimizer.nesterov=false',
            '--config.networks.student.optimizer.learning_rate=1',
        ],
    )
    assert (config.steps, config.algorithm.feedback, config.split.labels) == (7, 'off', 30)
    assert config.networks.teacher.model.widths == (8, 4)
    assert config.networks.student.optimizer.nesterov is False
    rate = config.networks.student.optimizer.learning_rate
    assert rate == 1.0 and isinstance(rate, float)


def test_sections_in_a_section_are_complete():
    config = configs.load(
        SMOKE,
        [
            '--config.views.weak.shift=2',
            '--config.views.weak.fill=0',
            '--config.views.strong.noise=3',
            '--config.views.mix.cutmix=1',
        ],
    )
    assert config.views.weak.to_dict() == {'mirror': False, 'shift': 2, 'fill': 0}
    assert config.views.strong.name == 'affine' and config.views.strong.rotate == 15.0
    assert (config.views.strong.noise, config.views.mix.cutmix) == (3.0, 1.0)
    assert config.views.strong.cutout == 0 and config.views.mix.per_image is False
    given = config.to_dict()
    given['views']['strong'] = {'name': 'randaugment', 'probability': [0.2, 0.8]}  # As JSON has it.
    del given['views']['weak']
    chosen = configs.complete(given).views
    assert chosen.strong.probability == (0.2, 0.8) and 'Cutout' in chosen.strong.operations
    assert chosen.weak.fill == 'reflect'
    del given['views']['strong']
    assert configs.complete(given).views.strong.to_dict() == {'name': 'identity'}


RENAMED = {
    'source folder path=photos size=8': ('digits', '', {'path': 'photos', 'size': 8}),
    'source synthetic classes=3': ('digits', '', {'classes': 3, 'channels': 3}),
    'algorithm uda temperature=0.5': ('mpl', 'networks.teacher', {'temperature': 0.5}),
    'views crops size=8': ('images', '', {'size': 8, 'mean': 77.9}),
    'views.strong randaugment layers=1': ('affine', 'rotate', {'layers': 1}),
    'networks.student.model cnn norm=batch': ('mlp', 'widths', {'norm': 'batch'}),
    'networks.student.optimizer adamw weight_decay=0.1': (
        'sgd', '', {'learning_rate': 0.1, 'weight_decay': 0.1}
    ),
    'finetune.optimizer adamw learning_rate=0.1': ('sgd', '', {'learning_rate': 0.1}),
}  # fmt: skip


@pytest.mark.parametrize('order', [1, -1])
@pytest.mark.parametrize('case', RENAMED)
def test_a_name_changes_which_keys_a_section_has_in_any_order(case, order, capsys):
    section, name, *values = case.split()
    old, dropped, wanted = RENAMED[case]
    words = [f'--config.{section}.{value}' for value in (f'name={name}', *values)]
    config = configs.load(SMOKE, words[::order]).to_dict()
    for part in section.split('.'):
        config = config[part]
    assert config['name'] == name and {key: config[key] for key in wanted} == wanted
    note = f"note: config.{section}.name is '{name}' instead of '{old}', which drops {dropped}.\n"
    assert capsys.readouterr().err == (note if dropped else '')


def test_a_teachers_sections_change_their_names_too(capsys):
    config = configs.load(
        'configs/digits.py:reduced_mpl', ['--config.teacher.config.algorithm.name=supervised']
    )
    assert config.teacher.config.algorithm.name == 'supervised'
    assert config.algorithm.name == 'reduced_mpl'
    assert capsys.readouterr().err == (
        "note: config.teacher.config.algorithm.name is 'supervised' instead of 'uda', which drops "
        'mask_sharpened, temperature, threshold, weight.\n'
    )


def test_one_key_of_a_default_section_can_be_set():
    config = configs.load('configs/digits.py:uda', ['--config.finetune.optimizer.learning_rate=1'])
    assert config.finetune.optimizer.name == 'sgd'
    assert config.finetune.optimizer.learning_rate == 1.0


REFUSED = {
    '--config.stepz=3': r"config has no key 'stepz'; did you mean 'steps'\?",
    '--config.algorithm.temperature=1': r"algorithm has no key 'temperature'; did you mean 'uda_temp",
    '--config.networks.studnet.model.dropout=0': r'algorithm does not use networks.studnet',
    '--config.networks.projector=5': r'algorithm does not use networks.projector',
    '--config.networks.student.model.widths.x=1': r'config.networks.student.model.widths is',
    '--config.split.imbalance=1e999': r'split.imbalance is inf; give 0 or a number whose size',
    '--config.teacher.config.seed=3': r'copied from the run .* set --config.seed instead',
    '--config.=3': r"config has no key ''",
    '--config.steps.more=1': r'config.steps is 20, not a section with keys',
    '--config.steps=many': r"config.steps is 'many', a str; give a int",
    '--config.steps=0': r'steps is 0; give a number above 0',
    '--config.steps=2.5': r'config.steps is 2.5, a float; give a int',
    '--config.algorithm=mpl': r'config.algorithm is a section; set one of its keys: ema_decay, name',
    '--config.algorithm.name=mlp': r"algorithm.name 'mlp' is unknown; choose one of .*mpl",
    '--config.networks.student.model.name=wrn': r"model.name 'wrn' is unknown; choose one of .*cnn",
    '--config.source.name=cifar': r"source.name 'cifar' is unknown; choose one of .*tfds",
    '--config.batch.labeled=12': r'batch.labeled is 12; give a multiple of the 8 devices',
    '--config.batch.unlabeled=0': r"learns from 'unlabeled' images, but batch.unlabeled is 0",
    '--config.split.labels=2000': r'need',
    '--config.split.labels=5': r'labels is 5 but there are 10 classes',
    '--config.algorithm.feedback=magic': r"feedback 'magic' is unknown; choose one of exact",
    '--config.algorithm.labels=sampled': r"'sampled' has no gradient by feedback 'exact'",
    '--config.networks.student.optimizer.warmup_steps=99': r'leave no step of the 20',
    '--config.finetune.network=teacher_ema': r"finetune.network is 'teacher_ema'",
    '--config.split.file=/none.json': r'split.file has the indices of all examples',
    '--config.split.file=/none.json --config.split.labels=0 --config.split.validation=0': (
        r'split /none.json cannot be read'
    ),
    '--config.split.labels=0 --config.split.unlabeled_includes_labeled=false': (
        r'batch.unlabeled is 32, but the split has no unlabeled examples'
    ),
    '--config.seed=-1': r'seed is -1; give a number from 0',
    '--config.algorithm.ema_decay=-0.5': r'ema_decay is -0.5; give 0 or more',
    '--config.algorithm.label_smoothing=3': r'label_smoothing is 3.0; give a number from 0 to below 1',
    '--config.algorithm.label_smoothing=1': r'label_smoothing is 1.0; give a number from 0 to below 1',
    '--config.algorithm.label_smoothing=-1': r'label_smoothing is -1.0; give a number from 0',
    '--config.algorithm.uda_temperature=0': r'uda_temperature is 0.0; give a number above 0',
    '--config.algorithm.uda_ramp_steps=-1': r'uda_ramp_steps is -1; give 0 or more',
    '--config.networks.teacher.optimizer.learning_rate=-1': r'learning_rate is -1.0; give 0 or',
    '--config.networks.teacher.optimizer.clip_norm=-1': r'clip_norm is -1.0; give 0 or more',
    "--config.networks.teacher.model.widths=('a',)": r'widths=.* give at least one whole number',
    '--config.algorithm.name=a.b': r"algorithm.name 'a.b' is unknown",
    '--config.views.mean=abc': r"mean='abc'; give one number, or one for each",
    '--config.views.std=[1,[2]]': r'std=\(1, \[2\]\); give one number, or one for each',
    '--config.init_from.workdir=/none': r'/none holds no run',
    '--config.views.mean=(1.0,2.0)': r'mean has 2',
    '--config.views.strong.rotat=3': r"views.strong has no key 'rotat'; did you mean 'rotate'",
    '--config.views.strong.rotate=far': r"views.strong.rotate is 'far', a str; give a float",
    '--config.views.strong.name=color --config.views.strong.rotate=3': (
        r"views.strong has no key 'rotate'. Allowed: brightness"
    ),
    '--config.views.strong.name=warp': r"policy 'warp' is unknown; choose one of affine, color",
    '--config.views.strong=affine': r'config.views.strong is a section; set one of its keys: name, rotate',
    '--config.views.mix.mixup=-1': r'mixup=-1',
    '--config.steps=1000000000000': r'config.steps is a number of 40 bits; give one of at most 31',
    '--config.algorithm.uda_weight=1e999': r'uda_weight is inf; give 0 or a number whose size',
    '--config.algorithm.uda_temperature=1e-320': r'uda_temperature is 1e-320; give 0 or',
    '--config.algorithm.uda_weight=-1': r'uda_weight is -1.0; give 0 or more',
    '--config.networks.teacher.model.widths=(8.5,)': r'widths=.*give at least one whole number',
    '--config.networks.teacher.optimizer.clip_norm=1e300': r'clip_norm is 1e\+300; give 0 or a',
    "--config.split.unlabeled_only=('a\\0',)": r'unlabeled_only.0 is .*; give a number, text without',
    '--config.init_from.networks={1}': r"init_from.networks is '\{1\}', a str; give a tuple",
    '--config.init_from.networks=' + 99 * '[' + 99 * ']': r'nested more than 64 deep',
    '--config.teacher.config=x': r'teacher.config is a section; set one of its keys',
    '--config.': r"config has no key ''",
    '--config.batch.evaluate=2000000000': r'takes at least [\d,.]+ GiB of each device .* but a device has',
    '--config.finetune.labeled=2000000000': r'takes at least [\d,.]+ GiB of each device',
    '--config.networks.teacher.model.widths=(2000000000,)': r'takes at least [\d,.]+ GiB of each',
    '--config.views.weak.mirror=2': r'views.weak.mirror is 2, a int; give a bool',
}


@pytest.mark.parametrize('override', REFUSED)
def test_bad_input_is_one_sentence_before_anything_is_written(override, tmp_path):
    workdir = epath.Path(tmp_path) / 'run'
    with pytest.raises(ValueError, match=REFUSED[override]) as caught:
        stages.run(configs.load(SMOKE, override.split()), workdir)
    assert '\n' not in str(caught.value)
    assert not workdir.exists()


def test_config_file_that_is_not_there_or_lacks_a_key(tmp_path):
    with pytest.raises(ValueError, match='There is no config file configs/smoky.py; .*smoke.py'):
        configs.load('configs/smoky.py', [])
    given = configs.load(SMOKE, []).to_dict()
    del given['steps']
    with pytest.raises(ValueError, match="config lacks the key 'steps'"):
        configs.complete(given)


@pytest.mark.parametrize(
    'text, message',
    [
        ('def get_config(:', 'gives no config .SyntaxError'),
        ('x = 1', 'gives no config .AttributeError'),
        ('def get_config(): return dict(steps=1)', 'gives no config .AttributeError'),
        ('import torch_of_the_future', 'gives no config .ModuleNotFoundError'),
    ],
)
def test_config_file_that_gives_none(text, message, tmp_path):
    (tmp_path / 'c.py').write_text(text)
    with pytest.raises(ValueError, match=message):
        configs.load(str(tmp_path / 'c.py'), [])


def test_argument_that_the_config_does_not_take():
    with pytest.raises(ValueError, match="configs/smoke.py has no argument 'x'; allowed: none"):
        configs.load(SMOKE + ':x', [])


def test_values_of_any_type_anywhere_are_refused():
    given = configs.load(SMOKE, []).to_dict()
    networks = given['networks']
    odd = {'teacher': networks['teacher'] | {'model': 5}}
    for changes, message in (
        (
            {'networks': networks | {'teacher': 5}},
            'networks.teacher is 5; it is a section: give keys and values',
        ),
        ({'networks': networks | odd}, 'networks.teacher.model is 5, a int; give a dict'),
        ({'networks': {}}, 'The algorithm needs networks.teacher'),
        ({'networks': {'a.b': {}}}, 'algorithm does not use networks.a.b; remove it'),
        ({'batch': {5: 1}}, 'config.batch has the key 5, which is no text; give a name'),
        ({'steps': float('nan')}, 'config.steps is nan; give 0 or a number whose size is from'),
        ({'views': given['views'] | {'mean': b'x'}}, "views.mean is b'x', a bytes; give"),
        ({'views': given['views'] | {'strong': {'name': 5}}}, 'The policy 5 is unknown'),
        ({'source': {'name': '../digits'}}, "source.name '../digits' is unknown; choose one"),
        ({'source': {}}, 'source needs a name'),
    ):
        with pytest.raises(ValueError, match=message):
            configs.complete(given | changes)


def test_networks_are_those_that_the_algorithm_takes():
    given = configs.load(SMOKE, []).to_dict()
    student_alone = given | {'networks': {'student': given['networks']['student']}}
    with pytest.raises(ValueError, match='The algorithm needs networks.teacher'):
        configs.complete(student_alone)
    with pytest.raises(ValueError, match='algorithm does not use networks.teacher'):
        configs.complete(given | {'algorithm': {'name': 'uda'}})


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--config=configs/smoke.py', '--config.steps=x'], "error: config.steps is 'x'"),
        (['--config=configs/smoke.py', '--step=3'], "error: The argument '--step=3' is unknown"),
    ],
)
def test_the_command_prints_one_sentence_without_a_traceback(arguments, message, tmp_path):
    done = subprocess.run(
        [sys.executable, '-m', 'mpl.train', f'--workdir={tmp_path}/run', *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert message in done.stderr and 'Traceback' not in done.stderr
    assert not (tmp_path / 'run').exists()


def test_our_own_faults_keep_their_traceback():
    code = (
        'import jax.numpy as jnp\nfrom mpl.run import command\n'
        'def fault(): jnp.zeros(2).reshape(3)\ncommand.main(fault)\n'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.returncode == 1 and 'Traceback' in done.stderr


def test_differences_name_every_number():
    old, new = {'a': 1, 'b': {'c': 2, 'd': 3}}, {'a': 1, 'b': {'c': 4, 'e': 5}}
    assert configs.differences(old, new) == ['b.c: 2 -> 4', 'b.d: 3 -> None', 'b.e: None -> 5']


def test_one_seed_draws_everything():
    splits = [
        experiments.assemble(configs.load(SMOKE, [f'--config.seed={s}'])).split.hash
        for s in (0, 0, 1)
    ]
    assert splits[0] == splits[1] != splits[2]
    assert re.fullmatch('[0-9a-f]{12}', splits[0])


def test_files_and_arguments_may_hold_colons(tmp_path):
    text = 'import ml_collections\ndef get_config(text=None): return ml_collections.ConfigDict()\n'
    folder = tmp_path / 'a:b [c]*'
    folder.mkdir()
    path = folder / 'x$1$.py'
    path.write_text(text)
    assert config_files.find(str(path)) == (path, len(str(path)))
    assert config_files.find(f'{path}:10:20') == (path, len(str(path)))
    (folder / 'x$1$.py:10').write_text(text)
    with pytest.raises(ValueError, match='may be .* or .* rename one'):
        config_files.find(f'{path}:10:20')
    (folder / 'notes.txt').write_text(text)
    with pytest.raises(ValueError, match='no Python file'):
        config_files.find(f'{folder}/notes.txt')
    with pytest.raises(ValueError, match='control character'):
        config_files.find(f'{folder}/a\nb.py')
