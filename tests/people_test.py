"""People in the loop of active learning, who answer through the requests of the labeling page."""

import os
import pathlib
import shutil

import asked_pictures as pictures
import numpy as np
import pytest
from etils import epath
from PIL import Image

from mpl.cycles import loop, people
from mpl.labeling import answers, page, question_files
from mpl.labeling.session import Session
from mpl.run import config as configs
from mpl.run import evaluation, identity, records

ROOT = pathlib.Path(__file__).resolve().parents[1]
REAL = pathlib.Path(
    os.environ['MPL_TEST_DATA']
    if 'MPL_TEST_DATA' in os.environ
    else ROOT.parent / 'shared' / 'data'
)
PHOTOS = REAL / 'photos/hymenoptera_subset'


def config(root, classes, **active):
    """A small network on small images; a study of people in seconds."""
    sgd = dict(name='sgd', learning_rate=0.1)
    return configs.complete(
        dict(
            steps=4,
            source=dict(name='folder', path=str(root), size=8, classes=classes),
            batch=dict(labeled=8, evaluate=16),
            views=dict(name='images', mean=127.5, std=64.0, weak=dict(shift=1, fill=0)),
            networks=dict(student=dict(model=dict(name='mlp', widths=(4,)), optimizer=sgd)),
            algorithm=dict(name='supervised', ema_decay=0.9),
            every=dict(log=4, evaluate=4, save=4),
            steps_per_call=4,
            active=dict(rule=dict(name='margin'), **active),
        )
    )


def answer(workdir, label_of, annotator='anna', count=None):
    """Labels all open questions, or `count` of them, by requests; returns their paths."""
    session = Session(pathlib.Path(workdir))
    client, study = page.make(session).test_client(), f'study={session.study}'
    *_, (_, asked) = question_files.cycles(pathlib.Path(workdir))
    path_of = dict(zip(asked.number, asked.path))
    given = client.get(f'/questions?{study}&annotator={annotator}&count=100').json
    paths = [path_of[question['number']] for question in given['questions']][:count]
    for question, path in zip(given['questions'], paths):
        one = {'number': question['number'], 'label': label_of(path)}
        sent = client.post(f'/answers?{study}', json={'annotator': annotator, 'answers': [one]})
        assert sent.status_code == 200, sent.json
    return paths


@pytest.mark.skipif(not PHOTOS.is_dir(), reason='no real photos beside the repository')
def test_photos_from_no_label_to_a_trained_network(tmp_path):
    for part, name in (('train', 'unlabeled'), ('val', 'test')):
        shutil.copytree(PHOTOS / part, tmp_path / 'photos' / name)
    given = config(
        tmp_path / 'photos', ('ants', 'bees'), start=6, budget=3, cycles=1, suggest=True,
        forms=('table', 'sheets', 'label_studio', 'cvat'),
    )  # fmt: skip
    workdir = epath.Path(tmp_path / 'al')
    for cycle, count in ((0, 6), (1, 3)):
        with pytest.raises(
            people.Waiting, match=f'Cycle {cycle}: {count} pictures wait for labels'
        ):
            loop.run(given, workdir)
        first = (workdir / f'cycle_{cycle}/to_label.csv').read_text().splitlines()[0]
        assert first.endswith('suggestion,confidence') == bool(cycle)  # None before a network.
        assert len(answer(workdir, lambda path: path.split('/')[1])) == count
    written = loop.run(given, workdir)
    assert [row['bought'] for row in written['cycles']] == [6, 9]
    assert sum(written['cycles'][-1]['classes'].values()) == 9
    kept = answers.load(pathlib.Path(workdir))
    assert [row.cycle for row in kept] == 6 * [0] + 3 * [1]
    for cycle, count in ((0, 6), (1, 9)):
        (stage,) = evaluation.load(workdir / f'cycle_{cycle}')
        source, split = stage.experiment.source, stage.experiment.split
        assert len(split.labeled) == count and source.classes == ('ants', 'bees')
        for number in split.labeled:  # The very pictures with the very labels.
            assert (
                source.train.name[number].split('/')[1]
                == source.classes[source.train.label[number]]
            )
    again = loop.run(given, workdir)
    assert again['cycles'][1]['accuracy'] == written['cycles'][1]['accuracy']
    frozen = workdir / 'cycle_1/labels.csv'
    frozen.write_text(frozen.read_text().replace(',ants,', ',bees,', 1))
    with pytest.raises(
        ValueError, match='have changed since it started .labels of 1 train examples'
    ):
        evaluation.load(workdir / 'cycle_1')


def test_ties_are_asked_again_and_late_answers_come_later(tmp_path):
    root = pictures.make_photos(tmp_path / 'photos', 12)
    given = config(root, pictures.CLASSES, start=4, budget=2, cycles=1, minimum=2)
    workdir = epath.Path(tmp_path / 'al')
    local = pathlib.Path(workdir)
    with pytest.raises(
        people.Waiting, match='4 pictures wait for labels, 0 of them .*; training starts at 2'
    ):
        loop.run(given, workdir)
    first = answer(workdir, lambda path: 'dog', count=3)
    (tmp_path / 'ben.csv').write_text(f'path,label\n{first[0]},cat\n')
    answers.keep(local, tmp_path / 'ben.csv')
    late = []

    def label_late(*_):  # Answers that come while the cycle is trained.
        late.extend(answer(workdir, lambda path: 'red fox'))

    with pytest.MonkeyPatch.context() as patch:
        run = loop.stages.run
        patch.setattr(loop.stages, 'run', lambda *a: (label_late(), run(*a))[1])
        with pytest.raises(people.Waiting, match='Cycle 1: [23] pictures wait') as waiting:
            loop.run(given, workdir)
    assert f'Tie: {first[0]}: dog (anna), cat (ben)' in str(waiting.value)
    chosen = records.read(workdir / 'cycle_1/acquired.json', '', '')['numbers']
    asked = question_files.read(local / 'cycle_1')
    assert asked.number[:2] == tuple(chosen) and len(asked.path) - 2 == (
        first[0] not in asked.path[:2]
    )
    assert first[0] in asked.path and asked.suggestion
    (stage,) = evaluation.load(workdir / 'cycle_0')
    assert [
        stage.experiment.source.train.name[n] for n in stage.experiment.split.labeled
    ] == sorted(first[1:])
    answer(workdir, lambda path: 'cat')
    answers.keep(local, _table(tmp_path, first[0], 'anna'))
    written = loop.run(given, workdir)
    (stage,) = evaluation.load(workdir / 'cycle_1')
    label = dict(zip(stage.experiment.source.train.name, stage.experiment.source.train.label))
    assert label[first[0]] == 0 and label[late[-1]] == 2 and label[first[1]] == 1
    assert written['cycles'][1]['labeled'] == np.count_nonzero(
        stage.experiment.source.train.label >= 0
    )
    assert identity.make(stage.experiment.source)['classes'] == list(pictures.CLASSES)


def _table(folder, path, annotator):
    (folder / 'tie.csv').write_text(f'path,label,annotator\n{path},cat,{annotator}\n')
    return folder / 'tie.csv'


@pytest.mark.parametrize('name', ['two\nlines.png', os.fsdecode(b'caf\xe9.png')])
def test_a_name_that_no_question_can_have_is_refused_before_the_first_cycle(tmp_path, name):
    """Not when the image is chosen: by then a network is trained, and renaming changes the pool."""
    folder = tmp_path / 'photos' / 'unlabeled'
    folder.mkdir(parents=True)
    for place, file in enumerate(['a.png', 'b.png', 'c.png', name]):
        Image.new('RGB', (8, 8), (40 * place, 0, 0)).save(os.path.join(folder, file))
    given = config(tmp_path / 'photos', ('cat', 'dog'), start=1, budget=1, cycles=1)
    with pytest.raises(ValueError, match='which no file of questions can hold: rename it'):
        loop.run(given, epath.Path(tmp_path / 'al'))
    assert not (tmp_path / 'al').exists()
