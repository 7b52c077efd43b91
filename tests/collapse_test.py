"""Class collapse: known histograms, and warnings of runs with and without it."""

import json

import jax
import numpy as np
import pytest
from etils import epath

from mpl.run import collapse, report, stages
from mpl.run import config as configs
from mpl.run import experiment as experiments

EVEN = np.full(10, 4)  # labeled examples by class
TAIL = np.round(100 * 10 ** (-np.arange(10) / 9))  # imbalanced 1:10


def images(*shares):
    return np.round(1000 * np.array(shares) / np.sum(shares))


HEALTHY = {
    'balanced': images(*[1] * 10),
    'imbalanced 1:10': images(*TAIL),
    'one class ten times as frequent': images(10, *[1] * 9),
    'half of the classes a tenth as frequent': images(*[10] * 5, *[1] * 5),
    'two classes taken for two others': images(2, 2, 0, 0, *[1] * 6),
    'half of the images in one class': images(9, *[1] * 9),
}
COLLAPSED = {
    'all images one class': images(0, 0, 0, 1, *[0] * 6),
    'nearly all': images(1, 1, 1, 991, *[1] * 6),
    'half of the classes': images(*[1] * 5, *[0] * 5),
    'three classes lost': images(0, 0, 0, *[1] * 7),
    'half of the classes, tenfold': images(*TAIL[:5], *[0] * 5),
}


@pytest.mark.parametrize('name', HEALTHY)
def test_uneven_classes_are_no_collapse(name):
    assert not collapse.is_collapsed(HEALTHY[name], EVEN)


@pytest.mark.parametrize('name', COLLAPSED)
def test_lost_classes_are_a_collapse(name):
    assert collapse.is_collapsed(COLLAPSED[name], EVEN)


def test_lost_is_measured_by_the_labeled_examples():
    labeled = np.array([90, 9, 1])
    assert not collapse.is_collapsed(images(90, 9, 1), labeled)
    assert collapse.lost_classes(images(99, 0.5, 0.5), labeled).tolist() == [False, True, False]
    assert not collapse.is_collapsed(images(98, 2, 0), labeled)  # Of 10 % of the labels.
    assert collapse.is_collapsed(images(995, 4, 1), labeled)  # All but all images.
    assert collapse.is_collapsed(images(0, 50, 50), labeled)


def test_any_set_within_tenfold_is_no_collapse_of_right_labels():
    random = np.random.RandomState(0)
    for _ in range(200):
        classes = random.randint(2, 50)
        share = np.exp(random.uniform(0, np.log(10), classes))
        exact = 1e6 * share / np.sum(share)
        assert not collapse.lost_classes(exact, np.ones(classes)).any()
        drawn = random.multinomial(2048, share / np.sum(share))
        assert not collapse.is_collapsed(drawn, np.ones(classes))


def test_two_classes():
    even = np.array([3, 3])
    assert not collapse.is_collapsed(np.array([90, 910]), even)
    assert collapse.is_collapsed(np.array([40, 960]), even)


def test_many_classes_in_few_images_are_not_judged_one_by_one():
    labeled, share = np.ones(1000), 10 ** (-np.arange(1000) / 999)
    few = np.random.RandomState(0).multinomial(1024, share / np.sum(share))
    assert np.mean(few == 0) > 0.25 and not collapse.is_collapsed(few, labeled)
    assert collapse.is_collapsed(np.eye(1000)[7] * 2048, labeled)


def test_effective_classes():
    assert collapse.effective_classes(np.array([5, 5, 5, 5, 0])) == pytest.approx(4)
    assert collapse.effective_classes(np.array([0, 7])) == 1
    half = np.exp(0.5 * np.log(2) + 0.5 * np.log(4))  # 1/2, 1/4, 1/4
    assert collapse.effective_classes(np.array([2, 1, 1])) == pytest.approx(half)


GOOD, BAD = HEALTHY['balanced'].tolist(), COLLAPSED['half of the classes'].tolist()


def evaluation(step, **networks):
    return {'step': step} | {f'unlabeled/{name}/histogram': h for name, h in networks.items()}


def found(*lines, steps=1000):
    return [(f.kind, f.step) for f in collapse.find(list(lines), EVEN, steps)]


def test_collapse_is_reported_once_when_it_lasts():
    assert found(evaluation(1, student=BAD), evaluation(2, student=GOOD)) == []
    assert found(evaluation(1, student=BAD), evaluation(2, student=BAD)) == [('classes', 2)]
    lines = [evaluation(step, student=BAD, teacher=GOOD) for step in (1, 2, 3)]
    assert found(*lines) == [('classes', 2)]
    assert found(evaluation(1, student=BAD), evaluation(2, teacher=BAD)) == []
    (finding,) = collapse.find(lines, EVEN, 1000)
    assert finding.sentence.startswith(
        'step 2: the labels of unlabeled images collapse: student '
        '(20 % are one class; 5 of 10 classes have under 10 % of their share).'
    )


def test_predictions_that_are_no_targets_are_not_reported():
    """Of the classifier beside a self-supervised rule, which has neither threshold nor ramp."""
    lines = [evaluation(step, student=BAD) for step in (1, 2)]
    assert collapse.find(lines, EVEN, 1000) and not collapse.find(lines, EVEN, 1000, False)
    for name, expected in {'digits.py:mpl': True, 'digits_pretrain.py:byol': False}.items():
        experiment = experiments.assemble(configs.load(f'configs/{name}', []), jax.devices()[:1])
        assert bool(collapse.of_run(experiment, lines)) == expected


def test_collapse_after_the_last_step_is_reported_at_once():
    assert found(evaluation(9, student=BAD), steps=9) == [('classes', 9)]


def test_a_mask_of_nothing_is_reported_after_the_first_evaluation():
    """All images under the threshold: the run continues with labels only (FixMatch, issue 79)."""
    nothing = [{'step': step, 'mask_rate': 0.0} for step in (1, 2, 3, 4)]
    assert found(*nothing) == []
    assert found(nothing[0], evaluation(1, student=GOOD), *nothing[1:]) == [('mask', 2)]
    some = {'step': 2, 'mask_rate': 1e-4}
    assert found(evaluation(1, student=GOOD), some, nothing[3]) == [('mask', 4)]
    assert found(evaluation(1, student=GOOD), {'step': 2, 'loss/labeled': 0.0}) == []
    (finding,) = collapse.find([evaluation(1, student=GOOD), *nothing[1:]], EVEN, 1000)
    assert finding.sentence.startswith('step 2: no unlabeled image has passed the mask')


def test_warnings_come_in_order():
    lines = [evaluation(1, student=BAD), {'step': 2, 'mask_rate': 0.0}, evaluation(3, student=BAD)]
    assert found(*lines) == [('mask', 2), ('classes', 3)]


RUNS = {
    # Its own labels, right or wrong, from the first step.
    'pseudo_label': (['threshold=0.0', 'weight=100.0'], {'classes'}),
    # Of ten classes, none is ever surer than 1 by rounding alone.
    'uda': (['threshold=1.0', 'temperature=1.0'], {'mask'}),
}


@pytest.mark.parametrize('method', RUNS)
def test_runs_warn_of_what_goes_wrong(method, tmp_path, capfd, drawing):
    numbers, kinds = RUNS[method]
    small = ['steps=240', 'every.log=20', 'every.evaluate=60', 'every.save=240']
    overrides = [f'--config.{n}' for n in [*small, 'steps_per_call=20', 'split.labels=20']]
    config = configs.load(
        f'configs/digits.py:{method}',
        overrides + [f'--config.algorithm.{number}' for number in numbers],
    )
    with drawing():
        written = stages.run(config, epath.Path(tmp_path) / 'run')
    assert {warning['kind'] for warning in written['warnings']} == kinds
    error = capfd.readouterr().err
    assert error.count('warning: step') == len(kinds)
    for sentence in report.warnings(written):
        assert sentence in error and f'Warning: {sentence}' in report.show(written, 'here')
    kept = json.loads((tmp_path / 'run' / 'report.json').read_text())
    assert kept['warnings'] == written['warnings']
    assert (tmp_path / 'run' / 'pseudo_labels.png').exists()


def test_reports_from_before_have_no_warnings():
    assert report.warnings({'seconds': 1.0}) == []
