"""Folders of pictures and CSV files, made here; real photos where they lie beside the repository."""

import concurrent.futures
import logging
import os
import pathlib
import shutil

import chex
import numpy as np
import pytest
from PIL import Image

from mpl.data import encoded, folder, images, splits

ROOT = pathlib.Path(__file__).resolve().parents[1]
REAL = pathlib.Path(
    os.environ['MPL_TEST_DATA']
    if 'MPL_TEST_DATA' in os.environ
    else ROOT.parent / 'shared' / 'data'
)

LAYOUT = {
    'labeled/bee/b.png': 10,
    'labeled/bee/a.JPG': 20,
    'labeled/ant/z.webp': 30,
    'labeled/ant/deep/er/y.bmp': 40,
    'unlabeled/u.jpeg': 50,
    'unlabeled/wasp/v.png': 60,
    'test/bee/t.png': 70,
    'validation/ant/w.png': 80,
    'validation/bee/x.png': 90,
}


def write(root, layout=LAYOUT):
    """Pictures of 12 x 20 pixels, all of the given brightness."""
    for name, value in layout.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        options = {'lossless': True} if path.suffix == '.webp' else {}
        Image.fromarray(np.full((12, 20, 3), value, np.uint8)).save(path, **options)
    return root


def values(pool):
    return pool.read(np.arange(len(pool.label)))[:, 3, 3, 0].tolist()


@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
@pytest.mark.parametrize('channels', [1, 3])
def test_reads_a_folder_in_the_order_of_its_paths(tmp_path, keep_bytes, channels):
    found = folder.make(str(write(tmp_path)), 8, channels, keep_bytes=keep_bytes)
    assert found.classes == ('ant', 'bee') and found.image_shape == (8, 8, channels)
    assert list(found.train.name) == [
        'labeled/ant/deep/er/y.bmp', 'labeled/ant/z.webp', 'labeled/bee/a.JPG', 'labeled/bee/b.png',
        'unlabeled/u.jpeg', 'unlabeled/wasp/v.png',
    ]  # fmt: skip
    assert found.train.label.tolist() == [0, 0, 1, 1, -1, -1]
    chex.assert_type(found.train.label, np.int32)
    assert values(found.train) == [40, 30, 20, 10, 50, 60]
    assert found.test.label.tolist() == [1] and values(found.test) == [70]
    assert found.validation.label.tolist() == [0, 1] and values(found.validation) == [80, 90]
    image = found.train.read(np.array([5, 0, 5]))
    chex.assert_shape(image, (3, 8, 8, channels))
    chex.assert_type(image, np.uint8)
    assert image[:, 0, 0, 0].tolist() == [60, 40, 60]


def test_the_number_of_a_picture_does_not_depend_on_when_it_came(tmp_path):
    one = folder.make(str(write(tmp_path / 'one')), 8)
    two = folder.make(str(write(tmp_path / 'two', dict(reversed(LAYOUT.items())))), 8)
    assert list(one.train.name) == list(two.train.name)


def test_labels_alone_are_enough(tmp_path):
    found = folder.make(str(write(tmp_path, {'labeled/a/1.png': 1, 'labeled/b/2.png': 2})), 8)
    assert found.validation is None and found.test is None
    assert found.train.label.tolist() == [0, 1]


@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
def test_reads_the_same_from_many_threads(tmp_path, keep_bytes):
    layout = {f'labeled/{"ab"[n % 2]}/{n:03}.png': n for n in range(40)}
    pool = folder.make(str(write(tmp_path, layout)), 8, keep_bytes=keep_bytes).train
    expected = np.array([int(pathlib.Path(name).stem) for name in pool.name])
    asked = [np.random.RandomState(seed).randint(0, 40, 64) for seed in range(30)]
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        for numbers, image in zip(asked, executor.map(pool.read, asked)):
            np.testing.assert_array_equal(image[:, 0, 0, 0], expected[numbers])


def test_exif_orientation_is_honored(tmp_path):
    write(tmp_path)
    pixels = np.zeros((32, 64, 3), np.uint8)
    pixels[:, :32] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / 'test/bee/t.png', exif=exif)
    image = folder.make(str(tmp_path), 16).test.read(np.array([0]))[0]
    assert image[:6].min() > 240 and image[-6:].max() < 15


def damage(root):
    write(root, {**LAYOUT, 'labeled/bee/c.png': 1})
    cut = root / 'labeled/bee/b.png'
    cut.write_bytes(cut.read_bytes()[:60])
    (root / 'unlabeled/u.jpeg').write_text('no picture')
    return str(root)


@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
def test_corrupt_pictures_are_skipped_with_one_warning(tmp_path, caplog, keep_bytes):
    with caplog.at_level(logging.WARNING):
        found = folder.make(damage(tmp_path), 8, corrupt='skip', keep_bytes=keep_bytes)
    assert list(found.train.name) == [
        'labeled/ant/deep/er/y.bmp', 'labeled/ant/z.webp', 'labeled/bee/a.JPG', 'labeled/bee/c.png',
        'unlabeled/wasp/v.png',
    ]  # fmt: skip
    assert values(found.train) == [40, 30, 20, 1, 60] and found.train.label.tolist() == [
        0,
        0,
        1,
        1,
        -1,
    ]
    (record,) = caplog.records
    assert '2 pictures in' in record.getMessage()
    assert (
        'labeled/bee/b.png (' in record.getMessage() and 'unlabeled/u.jpeg (' in record.getMessage()
    )


def test_corrupt_pictures_are_refused_by_name(tmp_path):
    with pytest.raises(
        ValueError,
        match=r"2 pictures in .*: labeled/bee/b.png \(.*unlabeled/u.jpeg \(.*corrupt='skip'",
    ):
        folder.make(damage(tmp_path), 8, corrupt='refuse')


def test_streamed_pictures_are_not_decoded_at_the_start(tmp_path, monkeypatch, caplog):
    decoded = []
    true = images.decode
    monkeypatch.setattr(images, 'decode', lambda *a: decoded.append(1) or true(*a))
    pool = folder.make(damage(tmp_path), 8, keep_bytes=0).train
    assert not decoded and not caplog.records
    assert values(pool) == values(pool) == [40, 30, 20, 128, 1, 128, 60]
    assert len(decoded) == 14 and len(caplog.records) == 2


def test_a_kept_corrupt_picture_is_gray(tmp_path, caplog):
    assert values(folder.make(damage(tmp_path), 8).train) == [40, 30, 20, 128, 1, 128, 60]
    said = sorted(record.getMessage() for record in caplog.records)
    assert len(said) == 2 and said[0].startswith('labeled/bee/b.png of ')


def test_checking_is_remembered_until_a_picture_changes(tmp_path, monkeypatch):
    write(tmp_path)
    checked = []
    true = encoded.find_damaged
    monkeypatch.setattr(
        encoded, 'find_damaged', lambda part, *a: checked.append(len(part.name)) or true(part, *a)
    )
    for _ in range(2):
        folder.make(str(tmp_path), 8, corrupt='refuse', keep_bytes=0)
    assert checked == [6, 2, 1]
    (tmp_path / 'test/bee/t.png').write_text('no picture')
    with pytest.raises(ValueError, match='1 pictures in .*test/bee/t.png'):
        folder.make(str(tmp_path), 8, corrupt='refuse', keep_bytes=0)
    assert checked == [6, 2, 1, 1]


def test_a_picture_that_is_gone_ends_the_run(tmp_path):
    pool = folder.make(str(write(tmp_path)), 8, keep_bytes=0).train
    (tmp_path / 'unlabeled/u.jpeg').unlink()
    with pytest.raises(FileNotFoundError):
        pool.read(np.array([4]))


def test_central_share_is_read(tmp_path):
    pixels = np.zeros((64, 64, 3), np.uint8)
    pixels[8:-8, 8:-8] = 255
    write(tmp_path)
    Image.fromarray(pixels).save(tmp_path / 'test/bee/t.png')
    whole, inner = (
        folder.make(str(tmp_path), 16, central=share).test.read(np.array([0]))[0, :, :, 0]
        for share in (1.0, 0.75)
    )
    assert whole[0, 0] == 0 and inner[1:-1, 1:-1].min() > 250


def test_a_class_or_split_that_is_all_corrupt_is_refused(tmp_path):
    write(tmp_path / 'one')
    for name in ('a.JPG', 'b.png'):
        (tmp_path / 'one/labeled/bee' / name).write_text('')
    with pytest.raises(
        ValueError, match="No labeled training picture of class 'bee' in .* can be read"
    ):
        folder.make(str(tmp_path / 'one'), 8, corrupt='skip')
    write(tmp_path / 'two')
    (tmp_path / 'two/test/bee/t.png').write_text('')
    with pytest.raises(ValueError, match='No picture for test in .* can be read'):
        folder.make(str(tmp_path / 'two'), 8, corrupt='skip')


def test_other_files_are_passed_over_and_counted(tmp_path, caplog):
    write(tmp_path)
    hidden = ('labeled/bee/.hidden.jpg', 'labeled/.cache/x.png', 'unlabeled/.cache/x.png')
    for name in (*hidden, 'labeled/bee/raw.tif', 'unlabeled/notes.txt'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('')
    with caplog.at_level(logging.WARNING):
        assert len(folder.make(str(tmp_path), 8).train.label) == 6
    (record,) = caplog.records
    assert record.getMessage().startswith(f'5 entries in {tmp_path} are left out')
    assert record.getMessage().endswith(
        '3 hidden files or folders (labeled/.cache, labeled/bee/.hidden.jpg, unlabeled/.cache), '
        '1 with .tif (labeled/bee/raw.tif), 1 with .txt (unlabeled/notes.txt).'
    )


def changed(path, remove=(), **layout):
    write(path, {name.replace('__', '/') + '.png': value for name, value in layout.items()})
    for name in remove:
        shutil.rmtree(path / name)


def only_text(path):
    shutil.rmtree(path / 'labeled/bee')
    (path / 'labeled/bee').mkdir()
    (path / 'labeled/bee/list.txt').write_text('')


@pytest.mark.parametrize(
    'change, message',
    [
        (
            lambda path: changed(path, remove=['labeled']),
            r'has no folder labeled/ \(there is: test, unlabeled, valid',
        ),
        (
            lambda path: [shutil.rmtree(entry) for entry in path.iterdir()],
            r'labeled/ \(there is: nothing\)',
        ),
        (
            lambda path: [shutil.rmtree(entry) for entry in (path / 'labeled').iterdir()],
            'labeled has no class folders',
        ),
        (lambda path: changed(path, labeled__loose=1), 'loose.png lies in no class folder'),
        (lambda path: (path / 'labeled/empty').mkdir(), r'empty has no pictures \(it is empty\)'),
        (only_text, r'bee has no pictures \(1 with .txt \(labeled/bee/list.txt\)\)'),
        (
            lambda path: changed(path, remove=['labeled/bee']),
            r'are of too few classes \(ant\): at least 2',
        ),
        (
            lambda path: changed(path, test__wasp__a=1),
            "is for test and of class 'wasp'.* classes are ant, bee",
        ),
        (
            lambda path: changed(path, validation__wasp__a=1),
            "is for validation and of class 'wasp'",
        ),
    ],
)
def test_refuses_a_folder_that_is_not_laid_out_well(tmp_path, change, message):
    change(write(tmp_path))
    with pytest.raises(ValueError, match=message):
        folder.make(str(tmp_path), 8)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'path': '/nowhere/at/all'}, '/nowhere/at/all does not exist'),
        ({'path': __file__}, 'is neither a folder nor a .csv file'),
        ({'size': 0}, 'size is 0'),
        ({'threads': 0}, 'threads is 0'),
        ({'central': 1.5}, 'central is 1.5: give a share above 0, up to 1'),
        ({'channels': 4}, 'channels is 4: give 3 for RGB or 1 for gray'),
        ({'corrupt': 'ignore'}, "corrupt is 'ignore': give 'gray' or 'refuse' or 'skip'"),
    ],
)
def test_refuses_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        folder.make(**{'path': str(write(tmp_path)), 'size': 8, **arguments})


CSV = """path,label,split
b.png, bee ,
sub/a.png,ant,train
"with, comma.png",,
t.png,ant,test
w.png,bee,validation
"""


def listed(root, text, encoding='utf-8'):
    write(
        root,
        {
            'b.png': 10,
            'sub/a.png': 20,
            'with, comma.png': 30,
            't.png': 40,
            'w.png': 50,
            'x.png': 60,
        },
    )
    (root / 'list.csv').write_text(text, encoding=encoding)
    return str(root / 'list.csv')


@pytest.mark.parametrize('encoding', ['utf-8', 'utf-8-sig'])
def test_reads_a_csv_file(tmp_path, encoding):
    found = folder.make(listed(tmp_path, CSV, encoding), 8)
    assert found.classes == ('ant', 'bee')
    assert list(found.train.name) == ['b.png', 'sub/a.png', 'with, comma.png']
    assert found.train.label.tolist() == [1, 0, -1] and values(found.train) == [10, 20, 30]
    assert values(found.test) == [40] and values(found.validation) == [50]
    assert found.test.label.tolist() == [0] and found.validation.label.tolist() == [1]


def test_reads_a_csv_file_without_splits(tmp_path):
    found = folder.make(listed(tmp_path, 'label,path\nant,b.png\nbee,t.png\n,x.png\n'), 8)
    assert found.train.label.tolist() == [0, 1, -1] and found.test is None


@pytest.mark.parametrize(
    'text, message',
    [
        ('', r'has the columns \[\]: its first line must be path,label'),
        ('file,label\nb.png,ant\n', r"has the columns \['file', 'label'\]"),
        ('path,label,Split\nb.png,ant,test\n', "has the columns .*'Split'"),
        ('path,label\n', 'lists no pictures'),
        (
            'path,label\nb.png,ant\nnone.png,bee\n',
            "Line 3 of .* names 'none.png', but there is no such file",
        ),
        ('path,label\nb.png,ant\nsub,bee\n', "names 'sub', but that is a folder or a special file"),
        ('path,label\nb.png,ant\n./b.png,ant\n', 'names one file twice, as b.png and b.png'),
        ('path,label\nb.png\n', 'Line 2 of .* does not have as many fields'),
        ('path,label\nb.png,ant,test\n', 'Line 2 of .* does not have as many fields'),
        (
            'path,label,split\nb.png,ant,dev\n',
            "Line 2 of .* has the split 'dev': allowed are train, validation, test",
        ),
        (
            'path,label,split\nb.png,,test\n',
            'Line 2 of .* has no label: pictures for test need one',
        ),
        (
            'path,label,split\nb.png,ant,\nt.png,bee,\nx.png,wasp,test\n',
            "x.png .* is for test and of class 'wasp'",
        ),
        ('path,label\nb.png,ant\n', r'are of too few classes \(ant\)'),
        ('path,label,split\nb.png,,\nt.png,ant,test\n', r'are of too few classes \(none\)'),
    ],
)
def test_refuses_a_csv_file(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        folder.make(listed(tmp_path, text), 8)


def test_pictures_without_any_label_have_stand_ins_for_classes(tmp_path):
    csv = folder.make(listed(tmp_path, 'path,label\nb.png,\nt.png,\n'), 8)
    (tmp_path / 'all' / 'unlabeled').mkdir(parents=True)
    for name in ('b.png', 't.png'):
        shutil.copy(tmp_path / name, tmp_path / 'all' / 'unlabeled')
    for found in (csv, folder.make(str(tmp_path / 'all'), 8)):
        assert found.train.label.tolist() == [-1, -1] and len(found.classes) == 2
        split = splits.draw(found.train.label)
        assert not len(split.labeled) and split.unlabeled.tolist() == [0, 1]


def test_refuses_a_csv_file_that_is_not_utf8(tmp_path):
    with pytest.raises(ValueError, match='cannot be read as CSV in UTF-8'):
        folder.make(listed(tmp_path, 'path,label\nb.png,k\xe4fer\n', 'latin-1'), 8)


@pytest.mark.skipif(not (REAL / 'photos').is_dir(), reason='no real photos beside the repository')
def test_reads_real_photos(tmp_path):
    for name in ('train', 'val'):
        part = {'train': 'labeled', 'val': 'test'}[name]
        shutil.copytree(REAL / 'photos/hymenoptera_subset' / name, tmp_path / part)
    shutil.copytree(REAL / 'photos/imagenet_sample/val', tmp_path / 'unlabeled')
    found = folder.make(str(tmp_path), 64)
    assert found.classes == ('ants', 'bees') and len(found.test.label) == 12
    assert np.bincount(found.train.label + 1).tolist() == [46, 12, 12]
    image = found.train.read(np.arange(70))
    chex.assert_shape(image, (70, 64, 64, 3))
    assert image.std((1, 2, 3)).min() > 10  # none is blank
