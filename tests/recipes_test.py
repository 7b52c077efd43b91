"""The recipes: their numbers are those of their sources, and made small they run through every stage."""

import json
import math
import os
import pathlib
import subprocess
import sys

import conftest
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import passes
from configs import budgets, laptop, laptop_pretrain
from mpl.optimizers import schedules
from mpl.run import config as configs
from mpl.run import flops, smoke

ROOT = pathlib.Path(__file__).parent.parent


def load(recipe, *overrides):
    return configs.load(f'{ROOT}/configs/{recipe}', list(overrides))


def flat(section, where=''):
    for key, value in section.items():
        if isinstance(value, dict):
            yield from flat(value, f'{where}{key}.')
        else:
            yield f'{where}{key}', value


# What the README of the released code gives (reference in configs/released.py), as it acts.
RELEASED = {
    'cifar10.py:mpl,labels=4000': {
        'steps': 300_000,
        'batch.labeled': 128,
        'batch.unlabeled': 896,
        'split.labels': 4000,
        'split.validation': 0,
        'split.unlabeled_includes_labeled': True,
        'networks.student.optimizer.learning_rate': 0.05,
        'networks.student.optimizer.warmup_steps': 5000,
        'networks.student.optimizer.wait_steps': 3000,
        'networks.student.optimizer.schedule': 'cosine',
        'networks.student.optimizer.momentum': 0.9,
        'networks.student.optimizer.nesterov': True,
        'networks.student.optimizer.weight_decay': 5e-4,
        'networks.student.optimizer.clip_norm': 0.0,
        'networks.student.model.dropout': 0.2,
        'networks.student.model.dtype': 'bfloat16',
        'networks.student.model.depth': 28,
        'networks.student.model.width': 2,
        'networks.student.model.norm_decay': 0.99,
        'networks.student.model.norm_epsilon': 1e-3,
        'networks.teacher.optimizer.learning_rate': 0.05,
        'networks.teacher.optimizer.wait_steps': 0,
        'networks.teacher.model.dropout': 0.2,
        'algorithm.label_smoothing': 0.15,
        'algorithm.label_view': 'strong',
        'algorithm.ema_decay': 0.995,
        'algorithm.uda_weight': 8.0,
        'algorithm.uda_ramp_steps': 5000,
        'algorithm.uda_temperature': 0.7,
        'algorithm.uda_threshold': 0.6,
        'algorithm.uda_mask_sharpened': True,
        'views.strong.name': 'released',
        'views.strong.layers': 2,
        'views.strong.magnitude': 16.0,
        'views.strong.translate': 4.0,
        'views.strong.patch': 8,
        'views.strong.cutout': 16,
        'views.strong_geometry': 'twice',
        'views.weak.shift': 4,
        'views.weak.fill': 128.0,
        'finetune.steps': 1000,
        'finetune.labeled': 512,
        'finetune.optimizer.learning_rate': 1e-5,
    },
    'imagenet.py:mpl,labels=10%': {
        'steps': 700_000,
        'batch.labeled': 1024,
        'batch.unlabeled': 15_360,
        'networks.student.optimizer.learning_rate': 0.4,
        'networks.student.optimizer.warmup_steps': 5000,
        'networks.student.optimizer.wait_steps': 20_000,
        'networks.student.optimizer.weight_decay': 1e-4,
        'networks.student.optimizer.clip_norm': 5.0,
        'networks.student.model.dropout': 0.1,
        'networks.teacher.optimizer.learning_rate': 0.6,
        'networks.teacher.model.dropout': 0.1,
        'algorithm.label_smoothing': 0.1,
        'algorithm.ema_decay': 0.999,
        'algorithm.uda_weight': 20.0,
        'algorithm.uda_ramp_steps': 50_000,
        'algorithm.uda_temperature': 0.5,
        'algorithm.uda_threshold': 0.6,
        'views.strong.magnitude': 17.0,
        'views.strong.translate': 100.0,
        'views.strong.patch': 80,
        'views.strong.cutout': 0,
        'source.central': 0.875,
        'finetune.steps': 2000,
    },
}


@pytest.mark.parametrize('recipe', RELEASED)
def test_numbers_of_the_released_code(recipe):
    got, expected = dict(flat(load(recipe).to_dict())), RELEASED[recipe]
    assert {key: got[key] for key in expected} == expected


def test_uda_is_the_teacher_of_mpl_alone():
    """The same numbers, so that what MPL adds to it is the student and the feedback."""
    for data in ('cifar10', 'svhn', 'imagenet'):
        mpl, uda = load(f'{data}.py:mpl').to_dict(), load(f'{data}.py:uda').to_dict()
        for section in ('steps', 'source', 'split', 'views', 'batch'):
            assert mpl[section] == uda[section], section
        assert mpl['networks']['teacher'] == uda['networks']['student']
        for key in ('weight', 'temperature', 'threshold', 'ramp_steps', 'mask_sharpened'):
            assert mpl['algorithm'][f'uda_{key}'] == uda['algorithm'][key], key
        assert mpl['algorithm']['label_smoothing'] == uda['algorithm']['label_smoothing']


def test_fewer_labels_change_the_labels_alone():
    for method in ('mpl', 'uda', 'supervised', 'fixmatch', 'flexmatch', 'freematch', 'softmatch'):
        many = load(f'cifar10.py:{method}').to_dict()
        for labels in (40, 250):
            few = load(f'cifar10.py:{method},labels={labels}').to_dict()
            assert configs.differences(many, few) == [f'split.labels: 4000 -> {labels}']


FORWARD = budgets.forward('fast_cnn', 'cifar10')  # FLOPs
BUDGET = laptop.DATA['cifar10']['budget']
STARTED = {  # methods with a start, and the methods of the stages before them, the latest first
    'mpl,start=uda': ['uda'],
    'mpl,start=uda,feedback=off': ['uda'],
    'mpl,start=uda,student_labels=on': ['uda'],
    'mpl,start=supervised_uda,start_share=0.65': [
        'uda,view=strong,target_pass=averaged',
        'supervised',
    ],
    'uda,start=supervised': ['supervised'],
    'uda,start=supervised,start_size=24': ['supervised,size=24'],
    'uda,start=supervised,start_share=0.25': ['supervised'],
    'fixmatch,start=supervised,finetune=on': ['supervised'],
}


@pytest.mark.parametrize(
    'method',
    [
        *budgets.COSTS,
        'supervised,finetune=on',
        'uda,finetune=on',
        'uda,finetune=on,size=24',
        'uda,target_pass=averaged',
        *STARTED,
    ],
)
def test_a_budget_buys_the_steps_that_it_pays(method):
    """Counted in the update, each network over all of its passes; no pass is made for nothing."""
    config = load(f'laptop.py:{method}')
    last = 3 * config.finetune.steps * config.finetune.labeled  # passes forward
    last *= budgets.forward('fast_cnn', 'cifar10', config.views.size) / FORWARD
    total = passes.count(config) * config.steps + last
    stage = config
    for before in STARTED[method] if method in STARTED else ():
        stage, first = stage.init_from.config, load(f'laptop.py:{before}')
        assert stage.algorithm == first.algorithm and stage.views == first.views
        total += passes.count(first) * stage.steps
    assert 0.97 < total * FORWARD / BUDGET < 1.03


@pytest.mark.parametrize('method', laptop_pretrain.METHODS)
def test_a_budget_of_self_supervised_training_buys_the_steps_that_it_pays(method):
    """With the heads, whose products are not in COSTS."""
    config = load(f'laptop_pretrain.py:{method}')
    total = passes.count(config) * config.steps * FORWARD
    assert 0.97 < total / laptop_pretrain.BUDGETS['cifar10'] < 1.05


@pytest.mark.parametrize('method', ['supervised', 'uda'])
def test_both_stages_share_the_budget(method):
    config, alone = load(f'laptop_stages.py:{method}'), load(f'laptop.py:{method}')
    first, before = config.init_from.config, load('laptop_pretrain.py:simclr')
    assert first.algorithm == before.algorithm and first.networks == before.networks
    total = passes.count(alone) * config.steps + passes.count(before) * first.steps
    assert 0.97 < total * FORWARD / BUDGET < 1.05


@pytest.mark.parametrize('file', ['digits_pretrain', 'laptop_pretrain', 'cifar10_pretrain'])
def test_labeled_images_are_augmented_where_features_learn_from_them(file):
    views = {name: load(f'{file}.py:{name}').views.labeled for name in ('simclr', 'supcon')}
    assert views == {'simclr': 'none', 'supcon': 'strong'}


@pytest.mark.parametrize(
    ('given', 'match'),
    [
        (
            'laptop.py:uda,budget=0',
            'A stage has 0 FLOPs; give a finite number above 0',
        ),
        (
            'laptop.py:uda,budget=2e11',
            'A stage has 2e\\+11 FLOPs, and ten steps of it take 5.69e\\+11; give a larger',
        ),
        ('laptop.py:uda,budget=-1e14', 'A stage has -1e\\+14 FLOPs'),
        ('laptop.py:mpl,budget=nan', 'A stage has nan FLOPs'),
        ('laptop.py:supervised,budget=inf', 'A stage has inf FLOPs'),
        ('laptop.py:uda,start=supervised,start_share=1', 'start_share is 1.0; give .* below 1'),
        ('laptop.py:uda,start=supervised,start_share=0', 'start_share is 0.0; give .* above 0'),
        ('laptop.py:uda,start=supervised,start_share=0.9,finetune=on', 'give .* below 0.9'),
        ('laptop.py:uda,finetune=on,budget=6e11', 'A stage has 6e\\+10 FLOPs'),
        ('laptop_pretrain.py:simclr,budget=0', 'A stage has 0 FLOPs'),
        ('laptop_stages.py:mpl,budget=0', 'A stage has 0 FLOPs'),
        ('laptop.py:uda,labels=0', 'labels is 0; give a number above 0, or all'),
        (
            'laptop.py:mean_teacher,target_pass=averaged',
            "algorithm has no key 'target_pass'",
        ),
        ('laptop.py:uda,start_size=24', 'there is no start; give start=supervised'),
        ('laptop.py:uda,start_share=0.25', 'start=random has no run to start from'),
        ('laptop.py:mpl,start_share=0.25', 'start=random has no run to start from'),
        ('laptop.py:mpl,start_rate=0.1', 'start_rate is 0.1, but start=random has no run'),
        ('laptop.py:mpl,start=uda,start_share=0.9', 'give a number above 0 and below 0.9'),
    ],
)
def test_budgets_and_arguments_without_a_meaning_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        load(given)


@pytest.mark.parametrize('name', laptop.MODELS)
@pytest.mark.parametrize('data', laptop.DATA)
def test_flops_of_the_models(data, name):
    pixels, colors = budgets.SHAPES[data]
    model = configs.build('models', laptop.MODELS[name], num_classes=10)
    image = jnp.zeros((1, pixels, pixels, colors))
    variables = jax.eval_shape(lambda: model.init(jax.random.key(0), image, False))
    forward = jax.make_jaxpr(lambda v, x: model.apply(v, x, False))
    assert flops.count(forward(variables, image)) == budgets.forward(name, data)
    assert flops.count(forward(variables, image[:, :24, :24])) == budgets.forward(name, data, 24)
    side = laptop_pretrain.METHODS['jigsaw'](data, model=name).algorithm.tile
    tile = jnp.zeros((1, side, side, colors))
    assert flops.count(forward(variables, tile)) == budgets.forward(name, data, side)


STEPS = 2**20
FIXMATCH = {
    'fixmatch': {'threshold': 0.95, 'weight': 1.0},
    'flexmatch': {'threshold': 0.95, 'weight': 1.0},
    'freematch': {'fairness_weight': 0.001, 'memory_decay': 0.999},
    'softmatch': {'deviations': 2.0, 'memory_decay': 0.999, 'align': True},
    'pi_model': {'weight': 10.0, 'ramp_steps': round(0.4 * STEPS)},
    'mean_teacher': {'weight': 50.0, 'ramp_steps': round(0.4 * STEPS)},
    'temporal_ensembling': {'weight': 30.0, 'memory_decay': 0.6},
    'vat': {'weight': 0.3, 'entropy_weight': 0.06, 'iterations': 1},
    'pseudo_label': {'threshold': 0.95, 'ramp_steps': round(0.4 * STEPS)},
}


@pytest.mark.parametrize('data', ['cifar10', 'svhn'])
@pytest.mark.parametrize('method', FIXMATCH)
def test_numbers_of_fixmatch_and_its_suites(method, data):
    config = load(f'{data}.py:{method}' + ',hyperparameters=fixmatch' * (method == 'pseudo_label'))
    strong = method.endswith('match')
    got, optimizer = config.algorithm.to_dict(), config.networks.student.optimizer
    assert {key: got[key] for key in FIXMATCH[method]} == FIXMATCH[method]
    assert (got['name'], got['ema_decay'], config.steps) == (method, 0.999, STEPS)
    assert (config.batch.labeled, config.batch.unlabeled) == (64, 448 if strong else 64)
    assert (optimizer.learning_rate, optimizer.schedule) == (0.03, 'cosine_part')
    assert (optimizer.momentum, optimizer.nesterov, optimizer.weight_decay) == (0.9, True, 5e-4)
    assert config.views.strong.name == ('released' if strong else 'identity')
    if method == 'vat':  # 6 where 255 pixel values are 2, which are 2 / 127.5 times the deviation.
        assert math.isclose(got['radius'] * np.mean(config.views.std), 6 * 127.5, rel_tol=1e-3)


@pytest.mark.parametrize('data', ['cifar10', 'svhn'])
@pytest.mark.parametrize('method', ['distill', 'reduced_mpl'])
def test_the_teacher_of_a_taught_recipe_is_uda(method, data):
    config = load(f'{data}.py:{method}')
    assert config.teacher.config.to_dict() == load(f'{data}.py:uda').to_dict()
    assert config.networks.student.optimizer.wait_steps == 0


def test_rate_of_efficientnet_falls_as_in_noisy_student():
    """0.97 every 2.4 of 350 epochs: 145 times in the run, after 5 epochs of warm-up."""
    config = load('imagenet_efficientnet.py:supervised,network=b7')
    numbers = config.networks.student.optimizer.to_dict()
    assert math.isclose(numbers['learning_rate'], 0.016 * 4096 / 256)
    assert math.isclose(config.steps * config.batch.labeled / 1_281_167, 350, rel_tol=1e-4)
    rate = schedules.learning_rate(
        *(numbers[k] for k in ('learning_rate', 'schedule')),
        config.steps,
        *(numbers[k] for k in ('warmup_steps', 'wait_steps', 'decay_rate', 'decay_steps')),
    )
    assert math.isclose(numbers['warmup_steps'] / config.steps, 5 / 350, rel_tol=1e-3)
    np.testing.assert_allclose(rate(config.steps - 1), 0.256 * 0.97**145, rtol=1e-4)


@pytest.mark.parametrize(
    'recipe', ['cifar10.py:mpl,hyperparameters=papers', 'svhn.py:uda,hyperparameters=extra']
)
def test_unknown_hyperparameters_are_refused(recipe):
    with pytest.raises(ValueError, match='hyperparameters is .*; give released or paper'):
        load(recipe)


def test_smoke_changes_sizes_and_lengths_alone():
    full = load('imagenet.py:mpl,labels=10%')
    small = smoke.shrink(full)
    changed = {line.split(':')[0] for line in configs.differences(full.to_dict(), small.to_dict())}
    assert changed >= {'source.name', 'steps', 'batch.labeled', 'networks.student.model.depth'}
    assert all(
        key.split('.')[0] in ('source', 'batch', 'every')
        or key.endswith(('steps', 'steps_per_call', 'finetune.labeled', 'views.size', 'depth'))
        or key == 'probe.neighbors'
        for key in changed
    ), changed
    student, ramp = small.networks.student.optimizer, small.algorithm.uda_ramp_steps
    assert (student.wait_steps, student.warmup_steps, ramp) == (1, 1, 1)
    assert smoke.shrink(load('fashion_mnist.py:uda,labels=1000')).source.channels == 1
    assert smoke.shrink(load('digits.py:uda,labels=40')).source.name == 'digits'
    hidden = load('cifar10.py:uda,labels=4000', "--config.split.unlabeled_only=('cat',)")
    assert smoke.shrink(hidden).split.unlabeled_only == ()  # Made-up images have other classes.


def test_made_small_it_runs_through_every_stage(tmp_path):
    """With views of pictures of any size; one of the README's commands is the longest chain of stages.

    In a process of one device, which compiles faster than eight, and with fewer optimizations.
    """
    command = '-m mpl.train --smoke --config=configs/imagenet.py:supervised --workdir'.split()
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path / 'run')],
        cwd=ROOT,
        env=os.environ | conftest.HASTE,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / 'run' / 'report.json').read_text())
    assert set(report['networks']) == {'student', 'student_ema'}
    for network in report['networks'].values():
        assert 0 <= network['test']['accuracy'] <= 1
    lines = (tmp_path / 'run' / 'metrics.jsonl').read_text().splitlines()
    assert any('loss/labeled' in json.loads(line) for line in lines)
