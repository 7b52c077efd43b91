"""Questions to people in every form, and what comes back from them."""

import csv
import json
import pathlib
import shutil
import zipfile

import asked_pictures as pictures
import numpy as np
import pytest
from PIL import Image

from mpl.data import label_file
from mpl.labeling import agreement, answers, question_files, questions
from mpl.labeling.forms import cvat, sheets

ALL = ('table', 'sheets', 'label_studio', 'cvat')
PATHS = ('unlabeled/more/3.png', 'unlabeled/0 b.jpg', 'unlabeled/more/1.png', 'unlabeled/2 b.jpg')
# By rank; the third is left open, the last is skipped.
SAID = ('dog', 'red fox', '', 'skip')


def kept(workdir):
    return [(row.path, row.label, row.annotator) for row in answers.load(workdir)]


def test_the_forms_are_those_of_the_folder():
    assert questions.form_names() == sorted(ALL)
    with pytest.raises(
        ValueError, match="no form 'excel' of questions; give some of cvat, label_st"
    ):
        questions.find_form('excel')


def test_questions_are_written_once_and_hide_the_suggestion(tmp_path):
    workdir, asked = pictures.ask(tmp_path, forms=ALL)
    assert asked.path == PATHS and asked.number == (4, 0, 3, 1)
    rows = list(csv.reader((workdir / 'cycle_0/to_label.csv').open()))
    assert rows[:2] == [['number', 'path', 'rank', 'label'], ['4', PATHS[0], '1', '']]
    tasks = json.loads((workdir / 'cycle_0/label_studio.json').read_text())
    assert [task['data']['path'] for task in tasks] == list(PATHS)
    assert tasks[1]['data']['image'] == '/data/local-files/?d=unlabeled/0%20b.jpg'
    assert not any('predictions' in task for task in tasks)
    assert 'value="red fox" hotkey="3"' in (workdir / 'cycle_0/label_studio.xml').read_text()
    images = workdir / 'cycle_0/cvat/images'
    assert sorted(path.name for path in images.iterdir()) == [
        'mpl_000000.jpg', 'mpl_000001.jpg', 'mpl_000003.png', 'mpl_000004.png',
    ]  # fmt: skip
    assert (images / 'mpl_000004.png').read_bytes() == (tmp_path / 'photos' / PATHS[0]).read_bytes()
    pictures.fill(workdir, ['dog'])
    filled = (workdir / 'cycle_0/to_label.csv').read_text()
    pictures.ask(tmp_path, forms=ALL)  # The same questions again, as after a kill.
    assert (workdir / 'cycle_0/to_label.csv').read_text() == filled
    moved = asked._replace(root='/elsewhere')
    question_files.write(workdir / 'cycle_0', moved)
    assert question_files.read(workdir / 'cycle_0') == moved
    with pytest.raises(ValueError, match='cycle_0 has other questions than these'):
        pictures.ask(tmp_path, numbers=(5,))


def test_suggestions_are_shown_when_asked_for(tmp_path):
    workdir, _ = pictures.ask(tmp_path, forms=ALL, suggest=True)
    row = (workdir / 'cycle_0/to_label.csv').read_text().splitlines()[1]
    assert row.endswith(',1,,dog,0.7000')
    (task, *_) = json.loads((workdir / 'cycle_0/label_studio.json').read_text())
    assert task['predictions'][0]['score'] == 0.7
    lines = (workdir / 'cycle_0/cvat/suggestions/default.txt').read_text().splitlines()
    assert lines[0] == 'mpl_000004.png 1'


def test_a_sheet_shows_the_pictures_in_the_order_of_their_ranks(tmp_path):
    (tmp_path / 'photos').mkdir()
    pictures.make_photos(tmp_path / 'photos', 70)
    (tmp_path / 'photos/unlabeled/0 b.jpg').write_text('no picture')
    workdir, asked = pictures.ask(tmp_path, numbers=tuple(range(70)), forms=('sheets',))
    first, second = (
        np.asarray(Image.open(workdir / f'cycle_0/to_label_{n:03}.png')).astype(int) for n in (0, 1)
    )
    assert first.shape[0] > 7 * sheets.SIDE and second.shape[0] < 2 * sheets.SIDE
    step = first.shape[1] // 8
    levels = {path: int(pathlib.Path(path).stem.split()[0]) * 255 // 70 for path in asked.path}
    for rank in (1, 7, 8, 63):
        middle = first[rank // 8 * (sheets.SIDE + 26) + 80, rank % 8 * step + 40]
        np.testing.assert_allclose(middle, levels[asked.path[rank]], atol=2)


def test_a_filled_table_comes_back(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    pictures.fill(workdir, SAID)
    assert answers.collect(workdir) == 3
    assert kept(workdir) == [
        (PATHS[0], 'dog', 'to_label'), (PATHS[1], 'red fox', 'to_label'), (PATHS[3], 'skip', 'to_label'),
    ]  # fmt: skip
    found = answers.read(workdir)
    assert found.label == {PATHS[0]: 'dog', PATHS[1]: 'red fox'}
    assert (found.skipped, found.tied, found.open) == ((PATHS[3],), (), (PATHS[2],))
    assert answers.collect(workdir) == 0 and len(kept(workdir)) == 3  # Once is enough.
    pictures.fill(workdir, ['', '', 'cat'])
    assert answers.collect(workdir) == 1 and answers.read(workdir).open == ()


@pytest.mark.parametrize('separator', [',', ';', '\t'])
def test_a_table_may_come_from_a_spreadsheet(tmp_path, separator):
    workdir, _ = pictures.ask(tmp_path)
    lines = ['path,label,annotator', f'{PATHS[1]},cat,anna', f'{PATHS[1]},cat,ben', ',,']
    text = '\r\n'.join(lines).replace(',', separator)
    (tmp_path / 'sheet.csv').write_text(text, encoding='utf-8-sig')
    assert answers.keep(workdir, tmp_path / 'sheet.csv') == 2
    assert kept(workdir) == [(PATHS[1], 'cat', 'anna'), (PATHS[1], 'cat', 'ben')]


def label_studio_tasks(workdir):
    tasks = json.loads((workdir / 'cycle_0/label_studio.json').read_text())
    for task, label in zip(tasks, SAID):
        result = [{'value': {'choices': [label]}, 'from_name': 'choice', 'type': 'choices'}]
        cancelled = label == 'skip'
        annotation = {'result': [] if cancelled else result, 'was_cancelled': cancelled}
        task['annotations'] = [annotation | {'completed_by': {'id': 1, 'email': 'a@b.c'}}]
        if not label:
            task['annotations'] = []
    return tasks


def export_json(workdir, folder):
    (folder / 'export.json').write_text(json.dumps(label_studio_tasks(workdir)))
    return folder / 'export.json'


def export_json_min(workdir, folder):
    rows = [
        task['data'] | {'id': 7, 'choice': label, 'annotator': 1, 'annotation_id': 2}
        for task, label in zip(label_studio_tasks(workdir), SAID)
        if label != ''
    ]
    rows[-1] |= {'choice': None, 'was_cancelled': True}
    (folder / 'export.json').write_text(json.dumps(rows))
    return folder / 'export.json'


def export_csv(workdir, folder):
    rows = json.loads(export_json_min(workdir, folder).read_text())
    with (folder / 'export.csv').open('w') as file:
        writer = csv.DictWriter(file, ['annotation_id', *sorted({*rows[-1]} - {'annotation_id'})])
        writer.writeheader()
        writer.writerows(rows)
    return folder / 'export.csv'


def export_folders(workdir, folder):
    for name, label in zip(('4.png', '0.jpg', '3.png'), ('dog', 'red fox', 'no_label')):
        target = folder / 'cvat_export' / label / 'images' / f'mpl_00000{name}'
        target.parent.mkdir(parents=True)
        shutil.copy(workdir / 'cycle_0/cvat/images' / target.name, target)
    return folder / 'cvat_export'


def export_zip(workdir, folder):
    with zipfile.ZipFile(folder / 'export.zip', 'w') as archive:
        archive.writestr('synsets.txt', 'cat\ndog\nred fox\n')
        archive.writestr(
            'default.txt', f'mpl_000004.png 1\n"{PATHS[1][:-4]}".jpg 2\nmpl_000003.png\n'
        )
    return folder / 'export.zip'


@pytest.mark.parametrize(
    'export, skips, annotator',
    [
        (export_json, True, 'a@b.c'),
        (export_json_min, True, '1'),
        (export_csv, True, '1'),
        (export_folders, False, 'cvat_export'),
        (export_zip, False, 'export'),
    ],
)
def test_exports_of_labeling_tools_come_back(tmp_path, export, skips, annotator):
    workdir, _ = pictures.ask(tmp_path, forms=ALL)
    inbox = workdir / 'cycle_0/answers'
    inbox.mkdir()
    path = export(workdir, inbox)
    for other in inbox.iterdir():
        if other != path:
            other.unlink()
    assert answers.collect(workdir) == 2 + skips
    expected = [(PATHS[0], 'dog', annotator), (PATHS[1], 'red fox', annotator)]
    assert kept(workdir)[:2] == expected
    assert answers.read(workdir).skipped == ((PATHS[3],) if skips else ())
    assert answers.keep(workdir, path, annotator='anna') == (0 if skips else 2)


def test_the_majority_wins_ties_are_asked_again_and_agreement_is_told(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    for person, labels in {
        'anna': ('dog', 'cat', 'cat', ''),
        'ben': ('dog', 'cat', 'dog', 'cat'),
        'cleo': ('cat', '', '', ''),
    }.items():
        rows = ''.join(f'{path},{label},{person}\n' for path, label in zip(PATHS, labels))
        (tmp_path / 'one.csv').write_text('path,label,annotator\n' + rows)
        answers.keep(workdir, tmp_path / 'one.csv')
    found = answers.read(workdir)
    assert found.label == {PATHS[0]: 'dog', PATHS[1]: 'cat', PATHS[3]: 'cat'}
    assert found.tied == (PATHS[2],)
    first, second, third = agreement.pairs(found.votes)
    assert first[:3] == (('anna', 'ben'), 3, 2)
    assert first.kappa == pytest.approx(0.4)  # (2/3 - 4/9) / (1 - 4/9)
    assert second[:3] == (('anna', 'cleo'), 1, 0) and third[:3] == (('ben', 'cleo'), 1, 0)
    text = agreement.show(found)
    assert '3 have a class, 0 were skipped, 1 are ties, 0 are open' in text
    assert '3 were answered by several annotators, who agree on 1 (33.3 %)' in text
    assert "anna and ben: 2 of 3 alike, Cohen's kappa 0.40." in text
    assert f'Tie: {PATHS[2]}: cat (anna), dog (ben)' in text
    pictures.ask(tmp_path, numbers=(3,), cycle=1)  # Asked again: an answer may change now.
    (tmp_path / 'one.csv').write_text(f'path,label,annotator\n{PATHS[2]},dog,anna\n')
    assert answers.keep(workdir, tmp_path / 'one.csv') == 1
    assert answers.read(workdir).label[PATHS[2]] == 'dog'


def test_an_answer_is_corrected_on_purpose_only(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    path = pictures.fill(workdir, ['dog'])
    answers.collect(workdir)
    path.write_text(path.read_text().replace(',dog', ',cat'))
    with pytest.raises(ValueError, match=r"to_label answers 'cat' for .*3.png, but answered 'dog'"):
        answers.collect(workdir)
    assert answers.keep(workdir, path, replace=True) == 1
    assert answers.read(workdir).label == {PATHS[0]: 'cat'}
    assert [label for _, label, _ in kept(workdir)] == ['dog', 'cat']  # Nothing is deleted.


def test_an_answer_of_a_later_cycle_is_not_undone_by_an_earlier_file(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    pictures.fill(workdir, ['dog'])
    answers.collect(workdir)
    pictures.ask(tmp_path, numbers=(4,), cycle=1)
    pictures.fill(workdir, ['cat'], cycle=1)
    assert answers.collect(workdir) == 1 and answers.read(workdir).label == {PATHS[0]: 'cat'}
    assert answers.collect(workdir) == 0 and answers.read(workdir).label == {PATHS[0]: 'cat'}


TABLE = 'path,label,annotator,number\n'


@pytest.mark.parametrize(
    'name, content, message',
    [
        (
            'a.csv',
            TABLE + 'unlabeled/more/5.png,cat,,\n',
            'Line 2 .* about .*5.png, which was not ask',
        ),
        ('a.csv', TABLE + 'elsewhere/x.png,cat,,\n', 'Line 2 of .* elsewhere/x.png, which was not'),
        (
            'a.csv',
            TABLE + f'{PATHS[0]},cat,,5\n',
            'about .*3.png, number 5, which was not asked for',
        ),
        (
            'a.csv',
            TABLE + f'{PATHS[0]},cta,,\n',
            "Line 2 of .* has the class 'cta'; did you mean 'cat'",
        ),
        ('a.csv', TABLE + f'{PATHS[0]},Skip,,\n', "class 'Skip'; did you mean 'skip'"),
        (
            'a.csv',
            TABLE + f'{PATHS[0]},cat,,\n{PATHS[1]},cat,,\n{PATHS[0]},dog,,\n',
            "Line 4 of .* answers 'dog' for .*3.png, but Line 2 of .* 'cat'",
        ),
        ('a.csv', TABLE + f'{PATHS[0]},cat\n', 'Line 2 of .* has 2 fields, but the first line 4'),
        ('a.csv', 'path,label,extra\n', "has the column 'extra'; allowed are number, path"),
        ('a.csv', 'file,class\n', 'is in no known form: give a CSV file with the columns path'),
        ('a.csv', b'path,label\n\xff,\n', 'cannot be read as UTF-8'),
        ('a.txt', 'x', 'is in no known form'),
        ('a.json', '{', 'cannot be read as JSON'),
        ('a.json', '{}', 'not an export of Label Studio: it must be a list of tasks'),
        ('a.json', '[{"choice": "cat"}]', "Task 1 of .* has no 'path' or 'image'"),
        ('a.json', '[{"path": "x.png", "choice": "cat"}]', 'Task 1 .* x.png, which was not asked'),
        (
            'a.json',
            json.dumps([{'path': PATHS[0], 'choice': {'choices': ['cat', 'dog']}}]),
            'has several classes for .*3.png: choose one',
        ),
        (
            'a.json',
            json.dumps([{'data': {'path': PATHS[0]}, 'annotations': [{'result': [{'value': 1}]}]}]),
            'has a result that is no choice of a class',
        ),
        (
            'a.json',
            '[{"data": {}, "annotations": [1]}]',
            'has no data or annotations as Label Studio',
        ),
        ('a.zip', b'PK', 'cannot be read as a zip file'),
        (
            'a.zip',
            {'x.txt': ''},
            'has neither <class>/ folders of pictures nor a list beside synsets',
        ),
        ('a.zip', {'cat/mpl_000005.png': ''}, 'about mpl_000005.png, which was not asked for'),
        ('a.zip', {'cow/mpl_000004.png': ''}, "cow/mpl_000004.png has the class 'cow'"),
        (
            'a.zip',
            {'cat/mpl_000004.png': '', 'dog/mpl_000004.png': ''},
            "dog/mpl_000004.png answers 'dog' for .*3.png, but .*cat/mpl_000004.png 'cat'",
        ),
        (
            'a.zip',
            {'synsets.txt': 'cat\ndog\n', 'x.txt': 'mpl_000004.png 2\n'},
            'Line 1 of .*x.txt has class 2, which synsets.txt does not name',
        ),
        (
            'a.zip',
            {'synsets.txt': 'cat\ndog\n', 'x.txt': 'mpl_000004.png 0 1\n'},
            'x.txt has several classes for mpl_000004.png: choose one',
        ),
    ],
)
def test_bad_answers_are_refused_with_their_line_and_nothing_is_kept(
    tmp_path, name, content, message
):
    workdir, _ = pictures.ask(tmp_path)
    pictures.fill(workdir, ['dog'])
    path = workdir / 'cycle_0/answers' / name
    path.parent.mkdir()
    if isinstance(content, dict):
        with zipfile.ZipFile(path, 'w') as archive:
            for entry, text in content.items():
                archive.writestr(entry, text)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        answers.collect(workdir)
    assert not (workdir / 'labels.csv').exists()


def test_pictures_that_cannot_be_asked_for_are_refused(tmp_path):
    root = pictures.make_photos(tmp_path / 'photos')
    (root / 'two\nlines.png').write_bytes((root / PATHS[0]).read_bytes())
    for name, message in {
        'two\nlines.png': 'has a line break, spaces at its ends',
        '../up.png': 'is not below .*/photos: pictures that people are asked for must lie',
    }.items():
        asked = questions.make(str(root), [name], np.array([0]), pictures.CLASSES, 0)
        with pytest.raises(ValueError, match=message):
            question_files.write(tmp_path / 'cycle_0', asked)
    asked = questions.make(str(root), [PATHS[0]] * 2, np.array([0, 1]), pictures.CLASSES, 0)
    with pytest.raises(ValueError, match='asked for twice'):
        question_files.write(tmp_path / 'cycle_0', asked)


@pytest.mark.parametrize(
    'name, path',
    [
        ('unlabeled/a/x.png', 'unlabeled/a/x.png'),
        ('/data/photos/unlabeled/a/x.png', 'unlabeled/a/x.png'),
        ('b/x.png', 'unlabeled/b/x.png'),
        ('C:\\photos\\b\\x.png', 'unlabeled/b/x.png'),
        ('x.png', None),  # There are two.
        ('y.png', 'unlabeled/y.png'),
        ('images/mpl_000007.png', 'unlabeled/b/x.png'),
        ('mpl_000001.png', None),
        ('unlabeled/a/x.jpg', None),
        ('', None),
    ],
)
def test_names_of_other_tools_lead_to_one_picture_or_none(name, path):
    paths = ('unlabeled/a/x.png', 'unlabeled/b/x.png', 'unlabeled/y.png')
    asked = question_files.Asked('/', pictures.CLASSES, 0, (3, 7, 9), paths)
    assert question_files.Finder([asked]).find(name) == path


def test_copies_among_the_questions_are_told(tmp_path):
    root = pictures.make_photos(tmp_path / 'photos')
    shutil.copy(root / PATHS[0], root / 'unlabeled/copy.png')
    asked = questions.make(
        str(root), [PATHS[0], PATHS[1], 'unlabeled/copy.png'], np.arange(3), pictures.CLASSES, 0
    )
    (note,) = questions.write(tmp_path / 'al/cycle_0', asked)
    assert note.startswith(
        '1 of the 3 pictures are copies, byte by byte, of others among them (unl'
    )


def test_changed_and_foreign_questions_are_refused(tmp_path):
    workdir, asked = pictures.ask(tmp_path)
    other = asked._replace(cycle=1, classes=('cat', 'dog'))
    question_files.write(workdir / 'cycle_1', other)
    with pytest.raises(
        ValueError,
        match='cycle_1 asks about the classes cat, dog, but .*cycle_0 about cat, dog, red',
    ):
        answers.collect(workdir)
    shutil.rmtree(workdir / 'cycle_1')
    path = workdir / 'cycle_0/asked.json'
    path.write_text(path.read_text().replace('dog', 'hog'))
    with pytest.raises(ValueError, match='is not a list of questions as it was written'):
        answers.collect(workdir)
    with pytest.raises(ValueError, match='has no questions yet; run mpl.active'):
        answers.read(tmp_path)


def test_a_frozen_copy_stays_as_it_is(tmp_path):
    workdir, _ = pictures.ask(tmp_path)
    copy = answers.freeze(workdir, workdir / 'cycle_0')
    assert label_file.read(copy) == []
    pictures.fill(workdir, ['dog'])
    answers.collect(workdir)
    assert answers.freeze(workdir, workdir / 'cycle_0') == copy and label_file.read(copy) == []
    assert len(label_file.read(answers.freeze(workdir, workdir / 'cycle_1'))) == 1


def test_an_export_of_cvat_in_another_encoding_is_a_sentence(tmp_path):
    path = tmp_path / 'export.zip'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('synsets.txt', 'caf\u00e9\n'.encode('latin-1'))
        archive.writestr('default.txt', '"a" 0\n')
    with pytest.raises(ValueError, match='export.zip/synsets.txt is not in UTF-8'):
        list(cvat.read(path))
