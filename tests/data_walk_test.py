"""What lies in a folder: read once, or counted and named; one file in two parts is refused."""

import os
import socket

import numpy as np
import pytest
from PIL import Image

from mpl.data import copies, files, folder, walk

LAYOUT = {
    'labeled/ant/1.png': 10,
    'labeled/bee/2.png': 20,
    'unlabeled/3.png': 30,
    'validation/ant/4.png': 40,
    'test/bee/5.png': 50,
}


def write(root, layout=LAYOUT):
    for name, value in layout.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), value, np.uint8)).save(root / name, 'PNG')
    return root


def left_out(caplog, root):
    """The one warning about what is not read."""
    (text,) = [r.getMessage() for r in caplog.records if 'are left out' in r.getMessage()]
    assert str(root) in text
    return text


def find(root):
    return [file.name for file in files.find(str(root))[1]]


def test_nothing_is_said_where_everything_is_read(tmp_path, caplog):
    assert find(write(tmp_path)) == sorted(LAYOUT)
    assert not caplog.records


@pytest.mark.parametrize(
    'name',
    'Test TEST tests testing val Val valid validate dev eval train training unlabelled Unlabeled '
    'unlabeld labelled Labeled label heldout hold-out'.split(),
)
def test_a_folder_that_seems_to_be_meant_is_refused(tmp_path, name):
    write(tmp_path, {'labeled/ant/1.png': 1, 'labeled/bee/2.png': 2, f'{name}/ant/3.png': 3})
    sentence = (
        f'a folder {name!r}, which would not be read: rename it to one of labeled/, unlabeled/, '
    )
    with pytest.raises(ValueError, match=sentence):
        folder.make(str(tmp_path), 8)


def test_misspelled_where_nothing_is_right(tmp_path):
    write(tmp_path, {'train/ant/1.png': 1, 'train/bee/2.png': 2})
    with pytest.raises(ValueError, match="a folder 'train', which would not be read"):
        folder.make(str(tmp_path), 8)


@pytest.mark.parametrize('kind', ['file', 'broken link', 'link to a file'])
def test_a_name_of_a_part_that_is_no_folder_is_refused(tmp_path, kind):
    write(tmp_path / 'photos', {'labeled/ant/1.png': 1, 'labeled/bee/2.png': 2})
    place = tmp_path / 'photos/test'
    if kind == 'file':
        place.write_text('')
    else:
        place.symlink_to('nowhere' if kind == 'broken link' else 'labeled/ant/1.png')
    with pytest.raises(ValueError, match='photos/test is not a folder that can be read'):
        folder.make(str(tmp_path / 'photos'), 8)


def test_everything_else_is_counted_with_examples(tmp_path, caplog):
    """In a part, beside class folders and beside the parts; and nothing hangs."""
    write(tmp_path)
    write(tmp_path, {'backup/6.png': 1, '7.png': 2, 'labeled/ant/.8.png': 3, '.thumbnails/9.png': 4,
                     'unlabeled/.thumbnails/10.png': 5})  # fmt: skip
    for name in ('README.md', 'labeled/notes.TXT', 'unlabeled/raw', 'test/bee/x.tif'):
        (tmp_path / name).write_text('')
    (tmp_path / 'unlabeled/gone.png').symlink_to('nowhere.png')
    (tmp_path / 'unlabeled/loop.png').symlink_to('loop.png')
    os.mkfifo(tmp_path / 'labeled/bee/pipe.png')
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(tmp_path / 'unlabeled')  # Names of sockets are short.
        server.bind('socket.png')
        os.chdir(here)
        assert find(tmp_path) == sorted(LAYOUT)
    assert left_out(caplog, tmp_path) == (
        f'13 entries in {tmp_path} are left out (read are .jpg, .jpeg, .png, .webp, .bmp files): '
        '1 folders beside labeled, test, unlabeled or validation (backup), '
        '3 hidden files or folders (.thumbnails, labeled/ant/.8.png, unlabeled/.thumbnails), '
        '2 links that lead nowhere (unlabeled/gone.png, unlabeled/loop.png), '
        '1 pictures beside labeled, test, unlabeled or validation (7.png), '
        '2 special files (labeled/bee/pipe.png, unlabeled/socket.png), '
        '1 with .md (README.md), 1 with .tif (test/bee/x.tif), 1 with .txt (labeled/notes.TXT), '
        '1 without extension (unlabeled/raw).'
    )


def test_capital_extensions_are_read(tmp_path):
    write(tmp_path, {'labeled/ant/1.PNG': 1, 'labeled/bee/2.Png': 2})
    assert find(tmp_path) == ['labeled/ant/1.PNG', 'labeled/bee/2.Png']


def test_links_that_lead_back_end(tmp_path, caplog):
    write(tmp_path / 'photos')
    inside = tmp_path / 'photos'
    (inside / 'unlabeled/up').symlink_to('..')
    (inside / 'unlabeled/here').symlink_to('.')
    (inside / 'unlabeled/top').symlink_to('/')
    (inside / 'labeled/ant/classes').symlink_to('..')
    (inside / 'labeled/back').symlink_to('..')
    assert find(inside) == sorted(LAYOUT)
    text = left_out(caplog, inside)
    assert '4 links that lead back to a folder above (labeled/ant/classes, labeled/back, ' in text
    assert '1 links to folders that are read already (unlabeled/here)' in text


def test_folders_that_link_to_each_other_are_read_once(tmp_path, caplog):
    """Every path through them would be ten factorial."""
    names = [f'unlabeled/f{n}' for n in range(10)]
    write(tmp_path, LAYOUT | {f'{name}/{n}.png': n for n, name in enumerate(names)})
    for name in names:
        for other in names:
            if name != other:
                (tmp_path / name / f'to_{other[-2:]}').symlink_to(tmp_path / other)
    assert find(tmp_path) == sorted([*LAYOUT, *(f'{name}/{n}.png' for n, name in enumerate(names))])
    assert '90 links to folders that are read already' in left_out(caplog, tmp_path)


def test_linked_folders_and_files_elsewhere_are_read(tmp_path):
    write(tmp_path / 'photos')
    write(tmp_path / 'disk', {'far/6.png': 60, '7.png': 70})
    (tmp_path / 'photos/unlabeled/far').symlink_to(tmp_path / 'disk/far')
    (tmp_path / 'photos/labeled/ant/near.png').symlink_to(tmp_path / 'disk/7.png')
    assert find(tmp_path / 'photos') == sorted(
        [*LAYOUT, 'unlabeled/far/6.png', 'labeled/ant/near.png']
    )


@pytest.mark.parametrize('link', ['hard', 'soft', 'folder'])
def test_a_file_with_several_names_in_one_class_is_read_once(tmp_path, caplog, link):
    write(tmp_path)
    if link == 'hard':
        (tmp_path / 'labeled/ant/9.png').hardlink_to(tmp_path / 'labeled/ant/1.png')
    elif link == 'soft':
        (tmp_path / 'labeled/ant/9.png').symlink_to('1.png')
    else:
        write(tmp_path, {'labeled/ant/deep/6.png': 60})
        (tmp_path / 'labeled/ant/again').symlink_to('deep')
    found = find(tmp_path)
    assert found == sorted([*LAYOUT, *(['labeled/ant/deep/6.png'] if link == 'folder' else [])])
    kind = 'links to folders that are read already (labeled/ant/again)'
    if link != 'folder':
        kind = 'further names of a file that is read (labeled/ant/9.png)'
    assert f'1 {kind}' in left_out(caplog, tmp_path)


@pytest.mark.parametrize('link', ['hard', 'soft', 'folder'])
@pytest.mark.parametrize(
    'place, told',
    [
        ('unlabeled/', 'once for labeled .ant. and once for unlabeled'),
        ('validation/ant/', 'once for labeled .ant. and once for validation .ant.'),
        ('test/ant/', 'once for labeled .ant. and once for test .ant.'),
        ('labeled/bee/', 'once for labeled .ant. and once for labeled .bee.'),
    ],
)
def test_one_file_in_two_parts_or_classes_is_refused(tmp_path, link, place, told):
    write(tmp_path)
    (tmp_path / place).mkdir(exist_ok=True)
    if link == 'hard':
        (tmp_path / place / 'copy.png').hardlink_to(tmp_path / 'labeled/ant/1.png')
    elif link == 'soft':
        (tmp_path / place / 'copy.png').symlink_to(tmp_path / 'labeled/ant/1.png')
    else:
        (tmp_path / place / 'copy').symlink_to(tmp_path / 'labeled/ant')
    with pytest.raises(ValueError, match=f'are one file, {told}: a picture may be in one part'):
        folder.make(str(tmp_path), 8)


@pytest.mark.parametrize('call', ['scandir', 'access'])
def test_what_may_not_be_read_is_counted(tmp_path, caplog, monkeypatch, call):
    write(tmp_path, LAYOUT | {'unlabeled/locked/6.png': 60})
    true = getattr(os, call)

    def refuse(path, *how):
        if call == 'scandir' and str(path).endswith('locked'):
            raise PermissionError(13, 'Permission denied')
        return true(path, *how) and not (call == 'access' and str(path).endswith('6.png'))

    def scan(path):
        refuse(path)
        return true(path)

    monkeypatch.setattr(os, call, scan if call == 'scandir' else refuse)
    assert find(tmp_path) == sorted(LAYOUT)
    kind = {
        'scandir': '1 folders that cannot be opened (Permission denied) (unlabeled/locked)',
        'access': '1 without permission to read (unlabeled/locked/6.png)',
    }[call]
    assert kind in left_out(caplog, tmp_path)


def test_a_class_folder_that_can_not_be_opened_is_refused(tmp_path, monkeypatch):
    write(tmp_path)
    true = os.scandir

    def scan(path):
        if str(path).endswith('ant'):
            raise PermissionError(13, 'Permission denied')
        return true(path)

    monkeypatch.setattr(os, 'scandir', scan)
    with pytest.raises(
        ValueError, match='labeled/ant has no pictures .1 folders that cannot be op'
    ):
        folder.make(str(tmp_path), 8)


def test_empty_files_are_damaged_pictures(tmp_path, caplog):
    write(tmp_path)
    (tmp_path / 'unlabeled/6.png').write_bytes(b'')
    pool = folder.make(str(tmp_path), 8).train
    assert pool.name[-1] == 'unlabeled/6.png' and pool.damaged(np.arange(4)).tolist()[-1]
    assert 'unlabeled/6.png of' in caplog.text and 'the file is empty' in caplog.text


ODD = [
    'caf\udce9.png',
    'a\nb.png',
    '-$5$ & "q" \'s\' [x] ~%s {y}.png',
    ' spaces .png',
    '\t.png',
    'ü.png',
]


@pytest.mark.parametrize('corrupt', ['gray', 'skip', 'refuse'])
def test_odd_names_are_read_and_can_be_shown(tmp_path, caplog, corrupt):
    write(tmp_path, LAYOUT | {f'unlabeled/{name}': 100 + n for n, name in enumerate(ODD)})
    (tmp_path / 'unlabeled/caf\udce9.txt').write_text('')
    (tmp_path / 'unlabeled/new\nline').write_text('')
    pool = folder.make(str(tmp_path), 8, corrupt=corrupt).train
    assert set(pool.name) >= {f'unlabeled/{name}' for name in ODD}
    number = {name: n for n, name in enumerate(pool.name)}
    for n, name in enumerate(ODD):
        assert pool.read(np.array([number[f'unlabeled/{name}']]))[0, 0, 0, 0] == 100 + n
    text = left_out(caplog, tmp_path)
    text.encode()
    assert '\n' not in text and "'unlabeled/new\\nline'" in text


@pytest.mark.parametrize('name', ['caf\udce9', 'a\nb', 'a\x1bb'])
def test_class_names_that_can_not_be_printed_are_refused(tmp_path, name):
    write(tmp_path, LAYOUT | {f'labeled/{name}/1.png': 1})
    with pytest.raises(
        ValueError, match='has a line break, a control character or bytes'
    ) as caught:
        folder.make(str(tmp_path), 8)
    str(caught.value).encode()


@pytest.mark.parametrize('name', ['Ant', ' ant ', 'ＡＮＴ'])
def test_classes_that_are_nearly_one_are_told(tmp_path, caplog, name):
    write(tmp_path, LAYOUT | {f'labeled/{name}/1.png': 1})
    assert len(folder.make(str(tmp_path), 8).classes) == 3
    assert 'differ in case, spaces or the form of their letters only' in caplog.text


def test_a_home_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match='begins with ~, but that home folder is not known'):
        folder.make('~nobody_of_this_name/photos', 8)


def test_prediction_and_training_read_the_same(tmp_path, caplog):
    write(tmp_path / 'photos')
    write(tmp_path / 'disk', {'6.png': 60, '.thumbnails/7.png': 70, 'B.PNG': 80})
    (tmp_path / 'photos/unlabeled/disk').symlink_to(tmp_path / 'disk')
    root, found = files.find_unlabeled(str(tmp_path / 'photos/unlabeled'))
    assert [file.name for file in found] == ['3.png', 'disk/6.png', 'disk/B.PNG']
    trained = [name for name in find(tmp_path / 'photos') if name.startswith('unlabeled/')]
    assert trained == [f'unlabeled/{file.name}' for file in found]
    assert caplog.text.count('1 hidden files or folders') == 2


def csv_of(root, *rows, encoding='utf-8'):
    text = '\n'.join(
        ['path,label,split', 'labeled/ant/1.png,ant,', 'labeled/bee/2.png,bee,', *rows]
    )
    (root / 'list.csv').write_bytes(text.encode(encoding, 'surrogateescape'))
    return str(root / 'list.csv')


@pytest.mark.parametrize(
    'path',
    ['labeled/ant/1.png', './labeled/ant/1.png', 'labeled/up/../up/1.png', 'labeled/ant/../ant/1.png',
     '{root}/labeled/ant/1.png', ' labeled/ant/1.png  ', 'labeled//ant/1.png', 'hard.png', 'soft.png',
     '../photos/labeled/ant/1.png'],
)  # fmt: skip
def test_a_csv_file_with_one_picture_in_two_parts_is_refused(tmp_path, path):
    root = write(tmp_path / 'photos')
    (root / 'labeled/up').symlink_to('ant')
    (root / 'hard.png').hardlink_to(root / 'labeled/ant/1.png')
    (root / 'soft.png').symlink_to('labeled/ant/1.png')
    row = path.format(root=root)
    for rest in (',ant,test', ',,', ',bee,'):
        with pytest.raises(ValueError, match='are one file, once for .* and once for'):
            folder.make(csv_of(root, row + rest), 8)
    with pytest.raises(ValueError, match='names one file twice'):
        folder.make(csv_of(root, row + ',ant,'), 8)


def test_a_csv_file_may_name_pictures_elsewhere(tmp_path):
    root = write(tmp_path / 'photos')
    write(tmp_path, {'disk/6.png': 60, 'disk/caf\udce9.png': 70})
    rows = ['../disk/6.png,,', f'{tmp_path}/disk/caf\udce9.png,ant,test']
    found = folder.make(csv_of(root, *rows), 8)
    assert found.train.name[0] == '../disk/6.png' and found.test.label.tolist() == [0]
    assert found.test.read(np.array([0]))[0, 0, 0, 0] == 70


@pytest.mark.parametrize(
    'row, message',
    [
        ('pipe.png,ant,', "names 'pipe.png', but that is a folder or a special file"),
        ('unlabeled\\3.png,,', r'there is no such file in .*, with / between folders'),
        ('a\0b.png,,', 'there is no such file'),
        (
            'unlabeled/3.png,k\udce4fer,',
            'cannot be read as CSV in UTF-8: the label or split in line 4',
        ),
        ('"unlabeled/3.png,,', 'cannot be read as CSV in UTF-8: unexpected end of data'),
        (',ant,', "names '', but that is a folder"),
        ('unlabeled/3.png,"two\nlines",', "class 'two.nlines' .* has a line break"),
    ],
)
def test_refuses_rows_of_a_csv_file(tmp_path, row, message):
    os.mkfifo(write(tmp_path) / 'pipe.png')
    with pytest.raises(ValueError, match=message) as caught:
        folder.make(csv_of(tmp_path, row), 8)
    str(caught.value).encode(errors='strict')


def test_a_column_twice_is_refused(tmp_path):
    (write(tmp_path) / 'list.csv').write_text('path,label,label\nunlabeled/3.png,ant,bee\n')
    with pytest.raises(ValueError, match='has the columns'):
        folder.make(str(tmp_path / 'list.csv'), 8)


def test_copies_across_parts_and_classes_are_counted(tmp_path, caplog):
    copied = {
        'test/bee/6.png': 10,
        'labeled/bee/7.png': 10,
        'unlabeled/8.png': 40,
        'labeled/ant/9.png': 10,
    }
    write(tmp_path, LAYOUT | copied)
    for _ in range(2):  # The second time what the files hold is remembered.
        caplog.clear()
        folder.make(str(tmp_path), 8)
        (text,) = [record.getMessage() for record in caplog.records]
        assert text.startswith(
            f'3 pictures in {tmp_path} are copies, byte by byte, of one of another'
        )
        assert '1 in labeled of another class of it, 1 in test of labeled' in text
        assert '1 in validation of unlabeled' in text
        assert 'test/bee/6.png = labeled/ant/1.png' in text


def test_files_of_a_size_of_their_own_are_not_read_for_copies(tmp_path, caplog, monkeypatch):
    write(tmp_path)
    for n, name in enumerate(LAYOUT):
        with open(tmp_path / name, 'ab') as file:
            file.write(bytes(n))
    assert not len(copies._suspects(files.find(str(tmp_path))[1]))
    found = [file._replace(size=9) for file in files.find(str(tmp_path))[1]]
    monkeypatch.setattr(copies, 'MOST', 4)
    copies.warn(tmp_path, found, 1)
    assert '5 pictures in' in caplog.text and 'too many to look for copies' in caplog.text


def test_the_identity_of_a_picture_is_that_of_its_file(tmp_path):
    write(tmp_path)
    (tmp_path / 'soft.png').symlink_to('unlabeled/3.png')
    one, two = (walk.regular(str(tmp_path / name)) for name in ('unlabeled/3.png', 'soft.png'))
    assert one.identity == two.identity and one.size == os.stat(one.name).st_size
