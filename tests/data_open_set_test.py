"""Classes that are only unlabeled: gone from everything but the unlabeled images."""

import chex
import numpy as np
import pytest
from etils import epath

from mpl.data import digits, open_set, source
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import loop, stages

IMAGE = np.arange(7, dtype=np.uint8)[:, None, None, None]


def made(validation=None):
    pool = source.from_arrays(IMAGE, np.array([0, 1, 2, 3, -1, 1, 3]))
    return source.Source(pool, validation and pool, pool, ('a', 'b', 'c', 'd'), (1, 1, 1))


def test_hidden_classes_lose_their_labels_and_the_others_are_renumbered():
    hidden = open_set.hide(made(), ('b',))
    assert hidden.classes == ('a', 'c', 'd')
    assert hidden.train.label.tolist() == [0, -1, 1, 2, -1, -1, 2]
    chex.assert_type(hidden.train.label, np.int32)
    np.testing.assert_array_equal(hidden.train.read(np.arange(7)), IMAGE)
    assert hidden.train.name == made().train.name and hidden.image_shape == (1, 1, 1)


@pytest.mark.parametrize('part', ['validation', 'test'])
def test_hidden_classes_are_not_measured(part):
    pool = getattr(open_set.hide(made(True), ('b', 'd')), part)
    assert pool.label.tolist() == [0, 1, -1] and list(pool.name) == ['0', '2', '4']
    assert pool.read(np.arange(3)).ravel().tolist() == [0, 2, 4]
    assert open_set.hide(made(), ('b',)).validation is None


def test_without_hidden_classes_nothing_changes():
    of = made()
    assert open_set.hide(of, ()) is of


@pytest.mark.parametrize(
    'names, message',
    [
        (('b', 'x'), "has 'x', which is no class; give some of 'a', 'b', 'c', 'd'."),
        ((1,), 'has 1, which is no class'),
        (('a', 'b', 'c'), 'leaves 1 of 4 classes; leave at least 2'),
    ],
)
def test_refuses(names, message):
    with pytest.raises(ValueError, match=message):
        open_set.hide(made(), names)


def load(*overrides):
    return configs.load('configs/smoke.py', [f'--config.split.{o}' for o in overrides])


def test_digits_by_overrides():
    """1,197 training digits, of which a fifth is hidden; 16 of eight classes are labeled."""
    config = load("unlabeled_only=('8','9')", 'labels=16', 'validation=80')
    experiment = experiments.assemble(config)
    truth, label = digits.make().train.label, experiment.source.train.label
    split = experiment.split
    np.testing.assert_array_equal(label, np.where(truth < 8, truth, -1))
    assert np.bincount(truth[split.labeled]).tolist() == [2] * 8
    assert np.bincount(truth[split.validation]).tolist() == [10] * 8
    assert (
        len(split.unlabeled) == 1197 - 80
        and np.isin(np.flatnonzero(truth > 7), split.unlabeled).all()
    )
    assert np.bincount(experiment.source.test.label).tolist() == [60] * 8
    assert experiments.labeled_counts(experiment).tolist() == [2] * 8


def test_imbalanced_digits_by_overrides():
    config = load('imbalance=10', 'labels=40', 'validation=200')
    experiment = experiments.assemble(config)
    label, split = experiment.source.train.label, experiment.split
    trained = np.bincount(label[split.unlabeled])
    left = np.bincount(label) - np.bincount(label[split.validation])
    np.testing.assert_array_equal(trained, np.rint(trained[0] * 10 ** (-np.arange(10) / 9)))
    assert trained[0] == left[0] and (trained <= left).all()
    counts = experiments.labeled_counts(experiment)
    assert (
        counts.sum() == 40 and counts[0] == 10 and counts[-1] == 1 and (np.diff(counts) <= 0).all()
    )
    assert np.bincount(experiment.source.test.label).tolist() == [60] * 10


@pytest.mark.parametrize(
    'overrides, message',
    [
        (["unlabeled_only=('8')"], "split.unlabeled_only is .*8.*; give a tuple"),
        (['unlabeled_only=(8,)'], 'has 8, which is no class'),
        (['imbalance=0.1'], 'imbalance is 0.1: give 1 or more'),
        (['file=x', 'labels=0', 'validation=0', 'imbalance=2'], 'imbalance to 1'),
    ],
)  # fmt: skip
def test_overrides_are_refused_at_the_door(overrides, message):
    with pytest.raises(ValueError, match=message):
        experiments.assemble(load(*overrides))


def test_a_run_with_its_last_stage_knows_nothing_of_hidden_classes(tmp_path, fast_compile):
    workdir = epath.Path(tmp_path) / 'run'
    report = stages.run(load("unlabeled_only=('3',)", 'labels=18', 'imbalance=2'), workdir)
    assert report['split']['unlabeled_only'] == ['3'] and report['split']['imbalance'] == 2
    assert {'student', 'finetuned'} <= set(report['networks'])
    text = (workdir / 'metrics.jsonl').read_text()
    lines = [
        line for line in loop.metrics.read(workdir / 'metrics.jsonl') if 'histogram' in str(line)
    ]
    measured = report['split']['unlabeled'] - 18
    assert 'unlabeled/teacher/accuracy' in text
    for line in lines:  # Hidden ones are counted, though not measured.
        assert len(line['unlabeled/teacher/histogram']) == 9
        assert sum(line['unlabeled/teacher/histogram']) == measured
