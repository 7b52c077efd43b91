"""The picture of how several runs learn: every run that measured something, whatever became of it."""

import json

import numpy as np
import pytest

from mpl.comparison import curves
from mpl.run import records


@pytest.fixture
def folders(tmp_path):
    """Two configs, of which one has a run with teacher, a run under way, and one not begun."""

    def run(name, *lines):
        (tmp_path / name).mkdir()
        text = '\n'.join(json.dumps(records.seal(line)) for line in lines)
        (tmp_path / name / 'metrics.jsonl').write_text(text + '\n{"step": 9')  # Cut by a kill.
        return tmp_path / name

    def line(step, *values):
        names = [f'{part}/{n}/accuracy' for part in PARTS for n in ('student', 'teacher')]
        return {'step': step, 'loss/student': 1.0} | dict(zip(names, values))

    PARTS = ('validation', 'unlabeled')
    both = [
        run('0', line(2, 0.1, 0.2, 0.8, 0.9), line(1), line(4, 0.3, 0.4, 0.8, 0.9)),
        run('1', line(2, 0.5, 0.6, 0.8, 0.9)),
        tmp_path / 'never',
    ]
    return {'mpl': both, 'uda': [run('2', line(2, 0.7))], 'other': [run('3', {'step': 1})]}


def drawn(axes):
    return [(line.get_color(), *np.transpose(line.get_xydata()).tolist()) for line in axes.lines]


def legend(figure):
    (one,) = figure.legends
    return [text.get_text() for text in one.get_texts()]


def test_every_run_has_a_line_in_its_networks_picture(folders):
    figure = curves.draw(folders)
    student, teacher, *_ = figure.axes
    assert student.get_title() == 'student, validation images'
    assert drawn(student) == [
        ('C0', [2, 4], [0.1, 0.3]),
        ('C0', [2], [0.5]),
        ('C1', [2], [0.7]),
    ]
    assert drawn(teacher) == [('C0', [2, 4], [0.2, 0.4]), ('C0', [2], [0.6])]
    assert legend(figure) == ['mpl', 'uda']


def test_steps_are_converted_to_minutes_and_to_the_flops_of_finished_runs(folders):
    (folder,) = folders['uda']
    with open(folder / 'metrics.jsonl', 'w') as file:
        for line in (
            {'step': 2, 'seconds': 60.0},
            {'step': 3, 'validation/student/accuracy': 0.7},
            {'step': 4, 'seconds': 180.0},
        ):
            file.write(json.dumps(records.seal(line)) + '\n')
    _, _, minutes, _ = curves.draw(folders).axes
    assert drawn(minutes) == [('C1', [2.0], [0.7])] and minutes.get_xlabel() == 'minutes'
    records.write(folder / 'report.json', {'metrics_lines': 3, 'flops': {'step': 100}})
    *_, flops, teacher = curves.draw(folders).axes
    assert drawn(flops) == [('C1', [300], [0.7])] and not teacher.lines
    (folder / 'pretrain').mkdir()
    stage = {'metrics_lines': 0, 'seconds': 240.0, 'flops': {'step': 7, 'run': 1000}}
    records.write(folder / 'pretrain' / 'report.json', stage)
    steps, _, minutes, _, flops, _ = curves.draw(folders).axes
    assert drawn(minutes) == [('C1', [6.0], [0.7])] and drawn(flops) == [('C1', [1300], [0.7])]
    assert ('C1', [3], [0.7]) in drawn(steps)


def test_without_validation_it_shows_the_unlabeled_images(folders):
    for of in folders.values():
        for folder in of:
            if folder.exists():
                file = folder / 'metrics.jsonl'
                lines = [json.loads(line) for line in file.read_text().splitlines()[:-1]]
                text = ''.join(
                    json.dumps(
                        records.seal({k.replace('validation', 'test'): v for k, v in line.items()})
                    )
                    + '\n'
                    for line in lines
                )
                file.write_text(text)
    student, teacher, *_ = curves.draw(folders).axes
    assert teacher.get_title() == 'teacher, unlabeled images'
    assert drawn(teacher) == [('C0', [2, 4], [0.9, 0.9]), ('C0', [2], [0.9])]


def test_names_are_shown_whatever_they_begin_with(folders):
    named = {'_mine': folders['mpl'], '$5$': folders['uda']}
    assert legend(curves.draw(named)) == [' _mine', '$5$']


def test_names_are_shown_without_the_arguments_that_all_have(folders):
    named = {f'cifar-{m},size=3': folders[m] for m in ('mpl', 'uda')}
    assert legend(curves.draw(named)) == ['cifar-mpl', 'cifar-uda']


def test_lines_that_a_finished_run_has_lost_are_noticed(folders):
    (folder,) = folders['uda']
    records.write(folder / 'report.json', {'metrics_lines': 1})
    assert curves.draw(folders) is not None
    records.write(folder / 'report.json', {'metrics_lines': 2})
    with pytest.raises(ValueError, match='has 1 lines; the run has written 2'):
        curves.draw(folders)


def test_nothing_measured_is_no_picture(folders):
    assert curves.draw({'other': folders['other']}) is None
