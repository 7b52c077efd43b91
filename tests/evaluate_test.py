"""Measuring a finished run: the report's numbers, every split, sentences for what is not there."""

import json
import sys

import numpy as np
import pytest
from etils import epath

from mpl import evaluate
from mpl.run import evaluation, measure


@pytest.fixture(scope='module')
def stages(smoke):
    return evaluation.load(smoke)


def command(monkeypatch, *arguments):
    monkeypatch.setattr(sys, 'argv', ['evaluate', *map(str, arguments)])
    evaluate.main()


@pytest.mark.parametrize('split', ['test', 'validation'])
def test_numbers_are_those_of_the_report(smoke, split):
    report = json.loads((smoke / 'report.json').read_text())['networks']
    result = evaluation.evaluate(smoke, split, [])
    assert list(result['networks']) == ['student', 'student_ema', 'teacher', 'finetuned']
    for name, measured in result['networks'].items():
        for key, value in report[name][split].items():
            assert measured[key] == value, (name, key)


def test_confusion_and_classes_count_every_example_once(smoke, stages):
    result = evaluation.evaluate(smoke, 'unlabeled', ['teacher'])
    (measured,) = result['networks'].values()
    pool, numbers = evaluation.find_examples(stages[0].experiment, 'unlabeled')
    count = np.bincount(pool.label[numbers], minlength=10)
    confusion = np.array(measured['confusion'])
    np.testing.assert_array_equal(confusion.sum(-1), count)
    np.testing.assert_allclose(measured['accuracy_by_class'], np.diag(confusion) / count)
    assert np.trace(confusion) / count.sum() == pytest.approx(measured['accuracy'])
    assert result['examples'] == count.sum() == 1097


def test_parts_hold_the_examples_of_the_split(stages):
    experiment = stages[0].experiment
    numbers = {split: evaluation.find_examples(experiment, split)[1] for split in evaluation.SPLITS}
    assert {split: len(n) for split, n in numbers.items()} == {
        'test': 600, 'validation': 100, 'train': 1097, 'labeled': 20, 'unlabeled': 1097
    }  # fmt: skip
    assert not np.intersect1d(numbers['train'], numbers['validation']).size
    assert np.isin(numbers['labeled'], numbers['train']).all()
    bare = experiment._replace(source=experiment.source._replace(test=None))
    with pytest.raises(ValueError, match='has no test examples'):
        evaluation.find_examples(bare, 'test')


def test_examples_without_label_do_not_count(smoke, stages, monkeypatch):
    pool, numbers = evaluation.find_examples(stages[0].experiment, 'test')
    label = np.where(pool.label < 2, pool.label, -1)
    monkeypatch.setattr(
        evaluation, 'find_examples', lambda *_: (pool._replace(label=label), numbers)
    )
    result = evaluation.evaluate(smoke, 'test', ['teacher'])
    teacher = result['networks']['teacher']
    assert (result['examples'], result['examples_without_label']) == (120, 480)
    assert np.sum(teacher['confusion']) == 120
    assert teacher['accuracy_by_class'][2:] == [None] * 8
    assert '480 more have no label' in evaluation.show(result)
    monkeypatch.setattr(
        evaluation, 'find_examples', lambda *_: (pool._replace(label=np.full(600, -1)), numbers)
    )
    with pytest.raises(ValueError, match='No test example has a label'):
        evaluation.evaluate(smoke, 'test', [])


def test_command_prints_tables_and_writes_json(smoke, tmp_path, monkeypatch, capsys):
    path = tmp_path / 'out.json'
    command(
        monkeypatch, f'--workdir={smoke}', '--network=teacher', '--network=student',
        f'--json={path}',
    )  # fmt: skip
    result = json.loads(path.read_text())
    printed = capsys.readouterr().out
    assert list(result['networks']) == ['student', 'teacher']
    for measured in result['networks'].values():
        assert f'{100 * measured["accuracy"]:.2f} %' in printed
        assert f'{100 * measured["accuracy_by_class"][3]:.2f} %' in printed
    assert 'teacher: true class by predicted class' in printed
    many = result | {'classes': [str(k) for k in range(21)]}
    assert 'true class' not in evaluation.show(many)


@pytest.mark.parametrize(
    'arguments, sentence',
    [
        (['--split=tset'], "split 'tset' is unknown; give one of test, validation"),
        (
            ['--network=pupil'],
            "no network 'pupil'; give one of student, student_ema, teacher, fine",
        ),
        (['--json={tmp}/none/out.json'], 'there is no folder'),
        (['--json={tmp}'], 'is a folder'),
        (['--workdir={tmp}'], 'holds no run'),
        (['--config.steps=3'], 'is not allowed here'),
    ],
)
def test_refusals(smoke, tmp_path, monkeypatch, arguments, sentence):
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    with pytest.raises(ValueError, match=sentence):
        command(monkeypatch, f'--workdir={smoke}', *arguments)


def test_unfinished_run_is_refused(smoke, tmp_path):
    (tmp_path / 'config.json').write_text((smoke / 'config.json').read_text())
    with pytest.raises(ValueError, match='is not finished'):
        evaluation.load(epath.Path(tmp_path))


def test_mirror_images_are_averaged_and_named(smoke, stages):
    """The mean of the outputs for an image and its mirror image; an even image changes nothing."""
    experiment, state = stages[0].experiment, stages[0].state
    config = experiment.config.copy_and_resolve_references()
    with config.unlocked():
        config.average_mirrored = True
    plain = measure.make_forward(experiment)
    both = measure.make_forward(experiment._replace(config=config))
    image = experiment.source.test.read(np.arange(8))
    outputs = [plain(state, x)['student'].logits for x in (image, image[:, :, ::-1])]
    averaged = both(state, image)['student'].logits
    np.testing.assert_allclose(averaged, (outputs[0] + outputs[1]) / 2, rtol=1e-6)
    assert np.abs(averaged - outputs[0]).max() > 1e-3
    assert 'mirror image' in measure.describe(config)
    assert measure.describe(experiment.config) == 'last checkpoint'
