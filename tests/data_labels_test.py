"""Labels from a file over a folder of images: the same numbers and classes in every cycle."""

import fcntl
import logging
import os
import pathlib
import subprocess
import sys
from concurrent import futures

import numpy as np
import pytest
from PIL import Image

from mpl.data import folder, label_file
from mpl.data.label_file import Answer
from mpl.run import config as configs
from mpl.run import folders, identity

ROOT = pathlib.Path(__file__).parent.parent
TIME = '2026-11-29T12:00:00Z'


@pytest.fixture
def photos(tmp_path):
    """Six images without a label, one of them with a comma in its name."""
    root = tmp_path / 'photos'
    (root / 'unlabeled').mkdir(parents=True)
    for n, name in enumerate(('a', 'b', 'c', 'd', 'e', 'with, comma')):
        Image.fromarray(np.full((8, 8, 3), 40 * n, np.uint8)).save(root / f'unlabeled/{name}.png')
    return root


def answer(name, label, annotator='anna', cycle=0):
    return Answer(f'unlabeled/{name}.png', label, annotator, cycle, TIME)


def make(photos, answers=(), **arguments):
    labels = photos.parent / 'labels.csv'
    label_file.append(labels, [answer(*one) for one in answers])
    return folder.make(
        str(photos), 8, **{'classes': ('cat', 'dog'), 'labels': str(labels)} | arguments
    )


def test_zero_labels_are_legal_and_classes_are_in_the_order_of_the_config(photos):
    found = make(photos, classes=('zebra', 'cat', 'dog'))
    assert found.classes == ('zebra', 'cat', 'dog') and found.train.label.tolist() == [-1] * 6
    found = make(photos, [('b', 'cat'), ('c', 'zebra')], classes=('zebra', 'cat', 'dog'))
    assert found.train.label.tolist() == [-1, 1, 0, -1, -1, -1]


def test_labels_from_the_file_move_no_number(photos):
    before = make(photos)
    after = make(photos, [('e', 'dog'), ('with, comma', 'cat'), ('b', 'skip')])
    assert list(after.train.name) == list(before.train.name)
    assert after.train.label.tolist() == [-1, -1, -1, -1, 1, 0]
    assert after.classes == before.classes  # 'cat' came last.
    assert after.train.read(np.array([4]))[0, 0, 0, 0] == 160


def test_the_majority_counts_and_the_last_answer_of_a_person(photos):
    found = make(
        photos,
        [
            ('a', 'cat', 'anna'), ('a', 'dog', 'ben'), ('a', 'dog', 'cleo'),
            ('b', 'cat', 'anna'), ('b', 'dog', 'ben'),
            ('c', 'cat'), ('c', 'dog'),
            ('d', 'cat'), ('d', ''),
            ('e', 'skip', 'anna'), ('e', 'dog', 'ben'), ('e', 'dog', 'cleo'),
        ],
    )  # fmt: skip
    assert found.train.label.tolist() == [1, -1, 1, -1, 1, -1]


def test_a_changed_label_is_a_changed_data_set(photos):
    before = make(photos, [('a', 'cat')])
    packed = identity.pack_labels(before)
    after = make(photos, [('a', 'dog')])
    lines = identity.differences(identity.make(before), identity.make(after), packed, after)
    assert lines == ['labels of 1 train examples, such as unlabeled/a.png: cat -> dog']


def test_the_place_of_the_file_may_change_but_not_the_classes():
    def checksum(**changed):
        given = configs.load('configs/folder.py:supervised', []).to_dict()
        given['source'] |= {'labels': 'a.csv', 'classes': ('cat', 'dog')} | changed
        return folders.checksum(configs.complete(given))

    assert checksum() == checksum(labels='moved/b.csv') != checksum(labels='')
    assert checksum() != checksum(classes=('dog', 'cat'))


def test_a_csv_file_takes_labels_too(photos):
    (photos / 'list.csv').write_text('path,label\nunlabeled/a.png,\nunlabeled/b.png,dog\n')
    found = folder.make(str(photos / 'list.csv'), 8, classes=('cat', 'dog'))
    assert found.train.label.tolist() == [-1, 1]
    label_file.append(photos.parent / 'labels.csv', [answer('a', 'cat')])
    labels = str(photos.parent / 'labels.csv')
    found = folder.make(str(photos / 'list.csv'), 8, classes=('cat', 'dog'), labels=labels)
    assert found.train.label.tolist() == [0, 1]


@pytest.mark.parametrize(
    'answers, arguments, message',
    [
        ([('a', 'cow')], {}, "Line 2 of .* has the class 'cow'; the classes are cat, dog"),
        ([('z', 'cat')], {}, 'Line 2 of .* about unlabeled/z.png, which is no training picture'),
        ([], {'classes': ()}, 'labels need classes'),
        ([], {'classes': ('cat',)}, 'give at least 2, each once'),
        ([], {'classes': ('cat', 'cat')}, 'give at least 2, each once'),
        ([], {'classes': ('cat', 'skip')}, "classes have 'skip', the answer for images without"),
        ([], {'classes': (0, 1)}, r'classes are \(0, 1\): give names'),
        ([], {'labels': '/nowhere.csv'}, 'labels /nowhere.csv cannot be read: No such file'),
        ([], {'labels': __file__}, 'is not a file of labels: its first line must be path,label'),
    ],
)
def test_bad_labels_are_refused(photos, answers, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(photos, answers, **arguments)


def test_a_label_that_contradicts_the_folder_is_refused(photos):
    (photos / 'labeled/dog').mkdir(parents=True)
    (photos / 'unlabeled/a.png').rename(photos / 'labeled/dog/a.png')
    row = Answer('labeled/dog/a.png', 'cat', 'anna', 0, TIME)
    label_file.append(photos.parent / 'labels.csv', [row])
    with pytest.raises(ValueError, match="is of class 'dog' in .*, but was answered 'cat'"):
        make(photos)
    with pytest.raises(ValueError, match="of class 'dog', which is not among the classes"):
        folder.make(str(photos), 8, classes=('cat', 'cow'))


def test_rows_come_back_as_they_were_written(tmp_path):
    path = tmp_path / 'labels.csv'
    rows = [answer('a, "b"', 'ö, x'), answer('\udcff', 'skip', 'ben', 3), answer('c', '')]
    for row in rows:
        label_file.append(path, [row])
    assert [row for _, row in label_file.read(path)] == rows
    assert [line for line, _ in label_file.read(path)] == [2, 3, 4]
    with pytest.raises(ValueError, match='has a line break'):
        label_file.append(path, [answer('a\nb', 'cat')])


def test_a_file_that_was_cut_anywhere_keeps_all_whole_rows(tmp_path, caplog):
    path = tmp_path / 'labels.csv'
    label_file.append(path, [answer('a', 'cat'), answer('b', 'dog')])
    content = path.read_bytes()
    ends = [n + 1 for n, byte in enumerate(content) if byte == ord('\n')]
    for size in range(len(content)):
        path.write_bytes(content[:size])
        # A row that only lacks its line break is whole.
        whole = sum(end <= size or end - 1 == size for end in ends[1:])
        with caplog.at_level(logging.WARNING):
            assert len(label_file.read(path)) == whole, size
        if size % 4 == 0 or size + 1 in ends:
            label_file.append(path, [answer('c', 'cat')])
            assert [row.path for _, row in label_file.read(path)][whole:] == ['unlabeled/c.png'], (
                size
            )
    assert 'was cut off and is not read' in caplog.text


def test_a_full_disk_adds_no_part_of_an_answer(tmp_path, monkeypatch):
    path = tmp_path / 'labels.csv'
    label_file.append(path, [answer('a', 'cat')])
    before, write = path.read_bytes(), os.write

    def fail(descriptor, content):
        write(descriptor, content[:5])
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'write', fail)
    with pytest.raises(OSError, match='No space'):
        label_file.append(path, [answer('b', 'dog')])
    assert path.read_bytes() == before


def test_a_writer_waits_for_another_one(tmp_path):
    path = tmp_path / 'labels.csv'
    label_file.append(path, [])
    with path.open() as other, futures.ThreadPoolExecutor() as executor:
        fcntl.flock(other, fcntl.LOCK_EX)
        writing = executor.submit(label_file.append, path, [answer('a', 'cat')])
        with pytest.raises(futures.TimeoutError):
            writing.result(0.2)
        fcntl.flock(other, fcntl.LOCK_UN)
        writing.result(30)
    assert len(label_file.read(path)) == 1


WRITER = """
import pathlib, sys
from mpl.data import label_file
for n in range(50):
    row = label_file.Answer(f'unlabeled/{n:03}.png', 'cat', sys.argv[2], 0, '')
    label_file.append(pathlib.Path(sys.argv[1]), [row])
"""


def test_writers_at_a_time_lose_nothing(tmp_path):
    path = tmp_path / 'labels.csv'
    environment = os.environ | {'PYTHONPATH': str(ROOT)}
    writers = [
        subprocess.Popen([sys.executable, '-c', WRITER, path, person], env=environment)
        for person in ('anna', 'ben')
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    rows = [row for _, row in label_file.read(path)]
    for person in ('anna', 'ben'):
        assert [r.path for r in rows if r.annotator == person] == [
            f'unlabeled/{n:03}.png' for n in range(50)
        ]


@pytest.mark.parametrize(
    'text, message',
    [
        ('name,class\n', 'its first line must be path,label,annotator,cycle,time'),
        ('path,label,annotator,cycle,time\na.png,cat\n', 'Line 2 of .* has 2 fields instead of 5'),
        ('path,label,annotator,cycle,time\na.png,cat,,0,\n', 'Line 2 of .* needs a path, an annot'),
        ('path,label,annotator,cycle,time\na.png,cat,x,-1,\n', 'a cycle from 0 up'),
        (
            'path,label,annotator,cycle,time\na.png,cat,x,0,noon\n',
            'needs .* not a.png,cat,x,0,noon',
        ),
    ],
)
def test_a_file_of_something_else_is_refused(tmp_path, text, message):
    (tmp_path / 'labels.csv').write_text(text)
    with pytest.raises(ValueError, match=message):
        label_file.read(tmp_path / 'labels.csv')
