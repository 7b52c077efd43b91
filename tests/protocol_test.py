"""The words above a table: what compared configs share, and where they differ."""

import pytest

from mpl.comparison import protocol
from mpl.run import config as configs
from mpl.run import measure

REPORT = {
    'source': {'name': 'digits'},
    'split': {'labeled': 40, 'unlabeled': 997, 'validation': 200},
    'images_seen': 80000,
    'weights': 'last checkpoint',
}
FILES = {name: f'configs/digits.py:{name}' for name in ('uda', 'fixmatch', 'mpl', 'supervised')}


@pytest.fixture
def named():
    """Three methods under one protocol, and labels only with its own numbers."""
    return {name: configs.load(path, []) for name, path in FILES.items()}


def show(named, **reports):
    merged = {name: {0: REPORT} for name in named} | reports
    return protocol.show(merged, named).splitlines()


def test_shared_settings_are_listed_once(named):
    del named['supervised']
    data, likeness, measured = show(named)
    assert data.startswith('Data: digits, 40 labeled, 997 unlabeled, 200 validation. The seed')
    assert likeness == (
        'The same in all: network (cnn), optimizer (sgd), views (images), steps (1,000), '
        'batch (labeled 16, unlabeled 64), images seen (80,000).'
    )
    assert measured.startswith('Accuracy of the last checkpoint')


def test_what_differs_is_named_with_its_configs(named):
    named['strong'] = configs.load('configs/digits.py:supervised,view=strong', [])
    named['long'] = configs.load('configs/digits.py:uda', ['--config.steps=2000'])
    seen = {0: REPORT | {'images_seen': 16000}}
    _, likeness, _ = show(named, supervised=seen, strong=seen)
    assert likeness == (
        'The same in all: network (cnn). Not the same: '
        'optimizer (learning_rate: 0.05 -> 0.1 in supervised; '
        'learning_rate: 0.05 -> 0.02, weight_decay: 0.0005 -> 0.005 in strong), '
        "views (labeled: 'weak' -> 'strong' in strong), steps (1,000 -> 2,000 in long), "
        'batch (unlabeled: 64 -> 0 in supervised, strong), '
        'images seen (80,000 -> 16,000 in supervised, strong).'
    )


def test_another_network_is_another(named):
    for role in ('teacher', 'student'):
        named['mpl'] = configs.complete(
            named['mpl'].to_dict()
            | {
                'networks': named['mpl'].networks.to_dict()
                | {role: named['uda'].networks.student.to_dict() | {'model': {'name': 'mlp', 'widths': (4,)}}}
            }
        )  # fmt: skip
        assert 'Not the same: network (another in mpl)' in show(named)[1]


def test_open_sets_and_imbalance_are_named(named):
    split = ["unlabeled_only=('8','9')", 'imbalance=10']
    named = {'a': configs.load(FILES['uda'], [f'--config.split.{number}' for number in split])}
    assert (
        '200 validation, classes 8 and 9 unlabeled only, '
        'first class 10 times as frequent as the last. The seed'
    ) in show(named)[0]
    named['a'] = configs.override(named['a'], ["--config.split.rare=('0','1')"])
    assert 'other classes each 10 times as frequent as each of 0, 1. The seed' in show(named)[0]


def test_data_that_differ_are_listed_and_configs_without_a_run_are_not(named):
    few = REPORT | {'split': REPORT['split'] | {'labeled': 20}}
    data, likeness, _ = show(named, uda={0: few}, supervised={})
    assert data.startswith(
        'Data: digits, 20 labeled, 997 unlabeled, 200 validation (uda); '
        'digits, 40 labeled, 997 unlabeled, 200 validation (fixmatch, mpl). The seed'
    )
    assert 'supervised' not in likeness


def test_what_accuracies_are_of_is_named(named):
    """Averages over mirror images are not hidden, and rows of both kinds are noticed."""
    mirrored = measure.describe(
        configs.load('configs/smoke.py', ['--config.average_mirrored=True'])
    )
    *_, last = show(named, uda={0: REPORT | {'weights': mirrored}})
    assert (
        'Accuracy of the last checkpoint, outputs averaged over each image and its mirror image (uda) or '
        'the last checkpoint (fixmatch, mpl, supervised), test measured once'
    ) in last
