"""Sets of tensorflow-datasets, written small here; real ones where they lie beside the repository."""

import concurrent.futures
import io
import json
import os
import pathlib
import pwd
import subprocess
import sys

import chex
import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import tensorflow_datasets
from array_record.python import array_record_module
from PIL import Image
from tensorflow_datasets.proto import tf_example_pb2

from mpl.data import prepared, tfds

ROOT = pathlib.Path(__file__).resolve().parents[1]
REAL = pathlib.Path(
    os.environ['MPL_TEST_DATA']
    if 'MPL_TEST_DATA' in os.environ
    else ROOT.parent / 'shared' / 'data'
)
real = pytest.mark.skipif(
    not (REAL / 'cifar10').is_dir(), reason='no real data beside the repository'
)
F = tensorflow_datasets.features


def picture(number, height=8, width=8):
    """A PNG whose every pixel tells its number."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(buffer, 'PNG')
    return buffer.getvalue()


def write(
    root, splits, name='tiny', form='array_record', features=None, pair=('image', 'label'), shards=2
):
    """A prepared set: splits {name: [{feature: bytes or int}]}."""
    base, _, config = name.partition('/')
    folder = root / name / '1.0.0'
    folder.mkdir(parents=True)
    if features is None:
        features = {
            'image': F.Image(shape=(8, 8, 3)),
            'label': F.ClassLabel(names=['ant', 'bee', 'cat']),
        }
    F.FeaturesDict(features).save_config(folder)
    described = []
    for split, examples in splits.items():
        records = [serialized(example) for example in examples]
        parts = [part.tolist() for part in np.array_split(np.array(records, object), shards)]
        for number, part in enumerate(parts):
            path = str(folder / f'{base}-{split}.{form}-{number:05d}-of-{shards:05d}')
            if form == 'parquet':
                column = pyarrow.array(part, pyarrow.binary())
                pyarrow.parquet.write_table(pyarrow.table({'data': column}), path)
            else:
                writer = array_record_module.ArrayRecordWriter(path, 'group_size:1')
                for record in part:
                    writer.write(record)
                writer.close()
        described.append(
            {
                'name': split,
                'filepathTemplate': '{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}',
                'numBytes': '1',
                'shardLengths': [str(len(part)) for part in parts],
            }
        )
    info = {
        'name': base,
        'configName': config,
        'version': '1.0.0',
        'fileFormat': form,
        'splits': described,
    }
    if pair is not None:
        info['supervisedKeys'] = {'tuple': {'items': [{'featureKey': key} for key in pair]}}
    (folder / 'dataset_info.json').write_text(json.dumps(info))
    return str(root)


def serialized(example):
    record = tf_example_pb2.Example()
    for key, value in example.items():
        feature = record.features.feature[key]
        if isinstance(value, bytes):
            feature.bytes_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return record.SerializeToString()


def examples(start, count, label=None):
    return [
        {'image': picture(n), 'label': n % 3 if label is None else label}
        for n in range(start, start + count)
    ]


def numbers_of(pool):
    return pool.read(np.arange(len(pool.label)))[:, 0, 0, 0].tolist()


@pytest.mark.parametrize('form', ['array_record', 'parquet'])
@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
def test_reads_every_example_by_number(tmp_path, form, keep_bytes):
    folder = write(tmp_path, {'train': examples(0, 50), 'test': examples(100, 7)}, form=form)
    found = tfds.make('tiny', folder, keep_bytes=keep_bytes)
    assert found.classes == ('ant', 'bee', 'cat') and found.image_shape == (8, 8, 3)
    assert numbers_of(found.train) == list(range(50)) and numbers_of(found.test) == list(
        range(100, 107)
    )
    np.testing.assert_array_equal(found.train.label, np.arange(50) % 3)
    chex.assert_type(found.train.label, np.int32)
    assert found.validation is None
    assert found.train.name[17] == 'train/17' and found.test.name[0] == 'test/0'
    image = found.train.read(np.array([49, 3, 49]))
    chex.assert_type(image, np.uint8)
    chex.assert_shape(image, (3, 8, 8, 3))
    assert image[:, 0, 0, 0].tolist() == [49, 3, 49]


@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
def test_reads_the_same_from_many_threads(tmp_path, keep_bytes):
    folder = write(tmp_path, {'train': examples(0, 50)})
    pool = tfds.make('tiny', folder, test=None, keep_bytes=keep_bytes).train
    asked = [np.random.RandomState(seed).randint(0, 50, 64) for seed in range(40)]
    with concurrent.futures.ThreadPoolExecutor(8) as executor:
        for numbers, image in zip(asked, executor.map(pool.read, asked)):
            np.testing.assert_array_equal(image[:, 0, 0, 0], numbers)


@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
def test_unlabeled_split_follows_train_with_its_labels_hidden(tmp_path, keep_bytes):
    folder = write(tmp_path, {'train': examples(0, 6), 'extra': examples(50, 5)})
    pool = tfds.make('tiny', folder, test=None, unlabeled='extra', keep_bytes=keep_bytes).train
    assert pool.label.tolist() == [0, 1, 2, 0, 1, 2, -1, -1, -1, -1, -1]
    assert numbers_of(pool) == [0, 1, 2, 3, 4, 5, 50, 51, 52, 53, 54]
    assert list(pool.name[5:7]) == ['train/5', 'extra/0']


def test_splits_by_other_names_and_parts_of_splits(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 20), 'dev': examples(50, 5)})
    found = tfds.make('tiny', folder, train='train[:12]', validation='train[15:]', test='dev')
    assert numbers_of(found.train) == list(range(12))
    assert numbers_of(found.validation) == list(range(15, 20))
    assert numbers_of(found.test) == list(range(50, 55))


def test_labels_that_are_missing_in_train_stay_so(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 4) + examples(4, 4, label=-1)})
    assert tfds.make('tiny', folder, test=None).train.label.tolist() == [0, 1, 2, 0, -1, -1, -1, -1]


def test_finds_the_features_and_the_names(tmp_path):
    features = {
        'picture': F.Image(shape=(None, None, 3)),
        'fine': F.ClassLabel(num_classes=3),
        'coarse': F.ClassLabel(num_classes=2),
        'id': F.Text(),
    }
    rows = [
        {'picture': picture(n), 'fine': n % 3, 'coarse': 0, 'id': f'x{n}'.encode()}
        for n in range(5)
    ]
    folder = write(tmp_path, {'train': rows}, features=features, pair=('picture', 'fine'))
    found = tfds.make('tiny', folder, test=None)
    assert found.train.label.tolist() == [0, 1, 2, 0, 1] and numbers_of(found.train) == [
        0,
        1,
        2,
        3,
        4,
    ]
    assert list(found.train.name) == ['x0', 'x1', 'x2', 'x3', 'x4']
    assert found.classes == ('0', '1', '2') and found.image_shape == (8, 8, 3)


def test_features_without_supervised_keys(tmp_path):
    folder = write(tmp_path / 'one', {'train': examples(0, 5)}, pair=None)
    assert numbers_of(tfds.make('tiny', folder, test=None).train) == [0, 1, 2, 3, 4]
    features = {
        'image': F.Image(shape=(8, 8, 3)),
        'a': F.ClassLabel(num_classes=3),
        'b': F.ClassLabel(num_classes=3),
    }
    rows = [{'image': picture(0), 'a': 0, 'b': 0}]
    folder = write(tmp_path / 'two', {'train': rows}, features=features, pair=None, shards=1)
    with pytest.raises(
        ValueError, match=r"not one image and one class label: .* class labels \['a', 'b'\]"
    ):
        tfds.make('tiny', folder, test=None)


def mixed(tmp_path):
    rows = examples(0, 4) + [{'image': picture(4, 12, 6), 'label': 1}]
    features = {'image': F.Image(shape=(None, None, 3)), 'label': F.ClassLabel(num_classes=3)}
    return write(tmp_path, {'train': rows}, features=features)


@pytest.mark.parametrize('keep_bytes', [1 << 30, 0])
def test_images_of_many_sizes_need_a_size(tmp_path, keep_bytes):
    folder = mixed(tmp_path)
    with pytest.raises(
        ValueError, match=r"'train/0' is 8 x 8 pixels, 'train/4' is 12 x 6; give size="
    ):
        tfds.make('tiny', folder, test=None, keep_bytes=keep_bytes)
    found = tfds.make('tiny', folder, test=None, size=5, keep_bytes=keep_bytes)
    assert found.image_shape == (5, 5, 3) and numbers_of(found.train) == [0, 1, 2, 3, 4]


def test_splits_of_differing_sizes_need_a_size(tmp_path):
    rows = [{'image': picture(0, 6, 6), 'label': 0}] * 2
    features = {'image': F.Image(shape=(None, None, 3)), 'label': F.ClassLabel(num_classes=3)}
    folder = write(tmp_path, {'train': examples(0, 4), 'test': rows}, features=features)
    with pytest.raises(
        ValueError, match=r"are \(8, 8, 3\) in 'train' but \(6, 6, 3\) in 'test': give size="
    ):
        tfds.make('tiny', folder)
    assert tfds.make('tiny', folder, size=4).image_shape == (4, 4, 3)


def test_a_part_of_a_split_in_parquet_is_refused(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 20)}, form='parquet')
    with pytest.raises(
        ValueError, match='should have 4 examples, but 10 are read: in Parquet only whole'
    ):
        tfds.make('tiny', folder, train='train[:4]', test=None)


@pytest.mark.parametrize(
    'arguments, message',
    [
        ({'dataset': 'other'}, r"'other' cannot be opened in .*: Could not find dataset files for: other; sets prepared there: tiny/1.0.0\. "),
        ({'dataset': 'tiny:9.9.9'}, 'cannot be opened in .*sets prepared there: tiny/1.0.0'),
        ({'dataset': 'not a name'}, 'cannot be opened in .*Parsing builder name string not a name failed'),
        ({'data_dir': 'nowhere'}, r'nowhere \(no such folder\): .*sets prepared there: none'),
        ({'train': 'trian'}, "no split 'trian': its splits are train, test, hidden, none"),
        ({'test': 'train['}, "no split 'train\\['"),
        ({'unlabeled': 'extra'}, "no split 'extra'"),
        ({'validation': 'hidden'}, "Split 'hidden' .* without a label, so it cannot serve as validation"),
        ({'train': 'none'}, "Split 'none' of 'tiny' has no examples"),
        ({'threads': 0}, 'threads is 0'),
        ({'size': 0}, 'size is 0'),
        ({'size': 4, 'central': 0.0}, 'central is 0.0: give a share above 0'),
        ({'central': 0.5}, 'central is 0.5, but pictures stay as they are'),
        ({'corrupt': 'skip'}, "corrupt is 'skip': give 'gray' or 'refuse'"),
        ({'unlabeled_dataset': 'tiny'}, 'name its split as unlabeled'),
        ({'unlabeled_folder': '.'}, 'give size=... to bring pictures to one size'),
    ],
)  # fmt: skip
def test_refuses_what_is_not_there(tmp_path, arguments, message):
    splits = {
        'train': examples(0, 6),
        'test': examples(0, 6),
        'hidden': examples(0, 3, -1),
        'none': [],
    }
    folder = write(tmp_path, splits)
    with pytest.raises(ValueError, match=message):
        tfds.make(**{'dataset': 'tiny', 'data_dir': folder, **arguments})


def test_the_sets_own_folder_as_data_dir_is_refused_with_the_way_out(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 6)})
    with pytest.raises(ValueError, match="point data_dir at the folder above 'tiny'"):
        tfds.make('tiny', folder + '/tiny')


def test_a_format_without_random_access_is_refused(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 6)}, form='array_record')
    path = tmp_path / 'tiny' / '1.0.0' / 'dataset_info.json'
    path.write_text(path.read_text().replace('array_record', 'tfrecord'))
    with pytest.raises(
        ValueError, match='TFRECORD is not supported.*needs a set prepared as array_record'
    ):
        tfds.make('tiny', folder, test=None)


def test_missing_files_are_refused(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 6)}, form='parquet')
    next((tmp_path / 'tiny' / '1.0.0').glob('*00001-of*')).unlink()
    with pytest.raises(
        ValueError, match="Split 'train' of 'tiny' in .* cannot be read: .*00001-of-00002"
    ):
        tfds.make('tiny', folder, test=None)


def test_a_broken_description_is_refused(tmp_path):
    folder = write(tmp_path, {'train': examples(0, 6)})
    (tmp_path / 'tiny' / '1.0.0' / 'dataset_info.json').write_text('{')
    with pytest.raises(ValueError, match="'tiny' cannot be opened in"):
        tfds.make('tiny', folder, test=None)


def test_a_damaged_image_is_named(tmp_path):
    rows = examples(0, 6)
    rows[3]['image'] = rows[3]['image'][:50]
    folder = write(tmp_path, {'train': rows})
    with pytest.raises(ValueError, match="Image 'train/3' of tiny train cannot be decoded"):
        tfds.make('tiny', folder, test=None, corrupt='refuse')


def test_images_that_are_not_eight_bits_are_refused(tmp_path):
    features = {
        'image': F.Image(shape=(8, 8, 1), dtype=np.uint16),
        'label': F.ClassLabel(num_classes=3),
    }
    folder = write(tmp_path, {'train': examples(0, 3)}, features=features)
    with pytest.raises(ValueError, match='are uint16 of 1 channels: uint8 of 1 or 3'):
        tfds.make('tiny', folder, test=None)


WITHOUT = """
import importlib.abc, importlib.machinery, socket, sys
class Refuse(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name.split('.')[0] == 'tensorflow' else None
    def create_module(self, spec):
        raise ImportError('tensorflow must not be imported')
    def exec_module(self, module):
        pass
def refuse(*args, **kwargs):
    raise OSError('the network must not be used')
sys.meta_path.insert(0, Refuse())
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from mpl.data import tfds
import numpy as np
pool = tfds.make('tiny', sys.argv[1], test=None, keep_bytes=0).train
assert pool.read(np.arange(6))[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
try:
    tfds.make('mnist', sys.argv[1])  # a set that could be downloaded
    raise SystemExit('found a set that is not there')
except ValueError as error:
    print(error)
assert 'tensorflow' not in sys.modules
"""


@pytest.mark.parametrize('form', ['array_record', 'parquet'])
def test_needs_neither_tensorflow_nor_a_network(tmp_path, form):
    folder = write(tmp_path, {'train': examples(0, 6)}, form=form)
    done = subprocess.run(
        [sys.executable, '-c', WITHOUT, folder], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "'mnist' cannot be opened" in done.stdout


@real
def test_cifar10_is_the_published_one():
    pool = tfds.make('cifar10', str(REAL), train='test', test=None).train
    image = pool.read(np.arange(10_000)) / 255
    np.testing.assert_allclose(image.mean((0, 1, 2)), [0.49421, 0.48513, 0.45041], atol=1e-5)
    np.testing.assert_array_equal(np.bincount(pool.label), np.full(10, 1000))
    assert pool.name[0] == 'test_09933'


@real
def test_mnist_is_gray_and_read_on_demand_as_whole():
    whole, single = (
        tfds.make('mnist', str(REAL), train='test', test=None, keep_bytes=keep).train
        for keep in (1 << 30, 0)
    )
    numbers = np.random.RandomState(0).randint(0, 10_000, 300)
    image = whole.read(numbers)
    chex.assert_shape(image, (300, 28, 28, 1))
    np.testing.assert_array_equal(image, single.read(numbers))
    np.testing.assert_array_equal(
        np.bincount(whole.label), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    )


def jpeg(number, height, width):
    buffer = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), number, np.uint8)).save(buffer, 'JPEG', quality=95)
    return buffer.getvalue()


def named(start, count):
    """Examples in the form of ImageNet: JPEG pictures of many sizes, with file names."""
    return [
        {
            'image': jpeg(n, 40 + n, 90 - n),
            'label': n % 3,
            'file_name': f'n0{n % 3}_{n}.JPEG'.encode(),
        }
        for n in range(start, start + count)
    ]


IMAGENET = {
    'image': F.Image(shape=(None, None, 3), encoding_format='jpeg'),
    'label': F.ClassLabel(names=['n01440764', 'n01443537', 'n01484850']),
    'file_name': F.Text(),
}


def imagenet(tmp_path):
    """The set and a tenth of it, which tensorflow-datasets holds as a config of another set."""
    splits = {'train': named(0, 30), 'validation': named(50, 6)}
    write(tmp_path, splits, 'imagenet2012', features=IMAGENET)
    subset = {'train': named(6, 3), 'validation': splits['validation']}
    folder = write(tmp_path, subset, 'imagenet2012_subset/10pct', features=IMAGENET)
    return folder


def near(pool, numbers):
    """JPEG keeps gray levels to about one."""
    image = pool.read(np.arange(len(pool.label)))
    return np.abs(image.mean((1, 2, 3)) - numbers).max() < 2


def test_a_tenth_of_imagenet_with_all_of_it_unlabeled(tmp_path):
    folder = imagenet(tmp_path)
    arguments = dict(test='validation', unlabeled='train', unlabeled_dataset='imagenet2012')
    arguments |= dict(size=16, central=0.875, keep_bytes=0)
    found = tfds.make('imagenet2012_subset/10pct', folder, **arguments)
    assert found.train.label.tolist() == [0, 1, 2] + [-1] * 30 and found.central == 0.875
    assert near(found.train, [6, 7, 8, *range(30)]) and near(found.test, range(50, 56))
    once = tfds.make('imagenet2012_subset/10pct', folder, **arguments, unlabeled_without_train=True)
    assert once.train.label.tolist() == [0, 1, 2] + [-1] * 27
    assert near(once.train, [6, 7, 8, *range(6), *range(9, 30)])
    assert sorted(once.train.name) == sorted(f'n0{n % 3}_{n}.JPEG' for n in range(30))
    part = once.train.crop(np.array([0, 9]), lambda n, height, width: (0, 0, width, height), 5)
    chex.assert_shape(part, (2, 5, 5, 3))
    assert np.abs(part.mean((1, 2, 3)) - [6, 9]).max() < 2


def test_all_of_imagenet_with_a_folder_unlabeled(tmp_path):
    folder = imagenet(tmp_path / 'sets')
    (tmp_path / 'more' / 'deep').mkdir(parents=True)
    for number, name in ((200, 'b.png'), (220, 'deep/a.PNG')):
        (tmp_path / 'more' / name).write_bytes(picture(number, 30, 20))
    found = tfds.make(
        'imagenet2012', folder, test='validation', unlabeled_folder=str(tmp_path / 'more'), size=16
    )
    assert list(found.train.name[29:]) == ['n02_29.JPEG', 'b.png', 'deep/a.PNG']
    assert found.train.label.tolist()[28:] == [1, 2, -1, -1]
    assert near(found.train, [*range(30), 200, 220])


def test_without_train_wants_names_that_some_share(tmp_path):
    splits = {'train': examples(0, 4), 'extra': examples(9, 3)}
    folder = write(tmp_path, splits)
    with pytest.raises(ValueError, match="None of the 3 unlabeled .*'extra/0' beside 'train/0'"):
        tfds.make('tiny', folder, test=None, unlabeled='extra', unlabeled_without_train=True)


@pytest.mark.parametrize(
    'name, size, extra, hidden',
    [('svhn_cropped', 32, 'extra', False), ('stl10', 96, 'unlabelled', True)],
)
def test_svhn_and_stl10(tmp_path, name, size, extra, hidden):
    """Sets in their form: no names of examples, and a split more whose labels are or are not there."""
    names = [str(n) for n in range(10)]
    features = {'image': F.Image(shape=(size, size, 3)), 'label': F.ClassLabel(names=names)}
    splits = {
        split: [
            {'image': picture(n, size, size), 'label': -1 if hidden and split == extra else n % 10}
            for n in range(start, start + count)
        ]
        for split, start, count in (('train', 0, 20), ('test', 30, 10), (extra, 50, 30))
    }
    folder = write(tmp_path, splits, name, features=features)
    plain, more = tfds.make(name, folder), tfds.make(name, folder, unlabeled=extra)
    assert plain.train.label.tolist() == [n % 10 for n in range(20)]
    assert more.train.label.tolist() == [n % 10 for n in range(20)] + [-1] * 30
    assert numbers_of(more.train) == [*range(20), *range(50, 80)]
    assert more.image_shape == (size, size, 3) and more.train.crop is None
    assert len(more.classes) == 10 and more.test.label.tolist() == list(range(10))


def test_labels_and_names_are_read_once(tmp_path, monkeypatch):
    monkeypatch.setenv('MPL_CACHE', str(tmp_path / 'cache'))
    folder = write(tmp_path, {'train': examples(0, 6), 'test': examples(6, 3)})
    indexed = []
    true = prepared.Prepared._index

    def index(self, split, records):
        indexed.append(split)
        return true(self, split, records)

    monkeypatch.setattr(prepared.Prepared, '_index', index)
    first, again = (tfds.make('tiny', folder, keep_bytes=0) for _ in range(2))
    assert indexed == ['train', 'test']
    assert again.train.label.tolist() == first.train.label.tolist() == [0, 1, 2, 0, 1, 2]
    assert list(again.train.name) == list(first.train.name)
    tfds.make('tiny', folder, train='train[:4]', test=None)
    assert indexed == ['train', 'test', 'train[:4]']
    file = next((tmp_path / 'tiny' / '1.0.0').glob('tiny-train*00001-of*'))
    os.utime(file, ns=(1, 1))
    tfds.make('tiny', folder)
    assert indexed == ['train', 'test', 'train[:4]', 'train']


def test_a_damaged_image_is_gray(tmp_path, caplog):
    rows = examples(0, 6)
    rows[0]['image'], rows[3]['image'] = b'', rows[3]['image'][:50]
    folder = write(tmp_path, {'train': rows})
    for keep_bytes in (0, 1 << 30):
        caplog.clear()
        pool = tfds.make('tiny', folder, test=None, keep_bytes=keep_bytes).train
        assert numbers_of(pool) == numbers_of(pool) == [128, 1, 2, 128, 4, 5]
        said = sorted(record.getMessage() for record in caplog.records)
        assert [line.split(' can')[0] for line in said] == [
            'train/0 of tiny train',
            'train/3 of tiny train',
        ]


def test_without_a_home_directory_a_set_is_not_found(monkeypatch):
    def nobody(_):
        raise KeyError

    monkeypatch.delenv('HOME')
    monkeypatch.setattr(pwd, 'getpwuid', nobody)
    with pytest.raises(ValueError, match='cannot be opened in ~/tensorflow_datasets'):
        tfds.make('mnist', '~/tensorflow_datasets')


@pytest.mark.parametrize(
    'splits, told',
    [
        ({'validation': 'train[70%:]', 'train': 'train[:80%]'}, 'train and validation share 2'),
        ({'test': 'train[:1]'}, 'train and test share 1'),
        ({'train': 'train[:5]', 'validation': 'train[5:8]', 'test': 'train[7:]'}, 'validation and test share 1'),
        ({'train': 'train[:5]', 'unlabeled': 'train'}, 'train and unlabeled share 5'),
    ],
)  # fmt: skip
def test_parts_that_share_examples_are_refused(tmp_path, splits, told):
    folder = write(tmp_path, {'train': examples(0, 20)})
    with pytest.raises(ValueError, match=f'for {told}[0-9]* examples'):
        tfds.make('tiny', folder, **{'test': None, **splits})
    apart = {'train': 'train[:10]', 'validation': 'train[10:15]', 'test': 'train[15:]'}
    assert len(tfds.make('tiny', folder, **apart).train.label) == 10
