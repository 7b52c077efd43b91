"""Damaged pictures: classes and parts of nothing else are refused, the others counted, the same after a restart."""

import numpy as np
import pytest
from etils import epath
from PIL import Image

from mpl import predict
from mpl.data import damage, folder, source, splits
from mpl.run import config as configs
from mpl.run import experiment, loop, report, stages


def write(root, damaged=()):
    """Two classes of four labeled pictures, three of each class for test, two for validation, six unlabeled."""
    counts = {'labeled/ant': 4, 'labeled/bee': 4, 'unlabeled': 6}
    counts |= {
        f'{part}/{name}': n
        for part, n in (('validation', 2), ('test', 3))
        for name in ('ant', 'bee')
    }
    for number, (place, count) in enumerate(counts.items()):
        (root / place).mkdir(parents=True, exist_ok=True)
        for n in range(count):
            image = np.random.RandomState(10 * number + n).randint(0, 256, (8, 8, 3), np.uint8)
            Image.fromarray(image).save(root / place / f'{n}.png')
    for name in damaged:
        (root / name).write_bytes((root / name).read_bytes()[:60])
    return root


def split_of(found, labeled=None):
    label = found.train.label
    labeled = np.flatnonzero(label >= 0) if labeled is None else np.array(labeled)
    return splits.from_indices(labeled, np.flatnonzero(label < 0), np.array([], np.int64))


@pytest.mark.parametrize('keep_bytes', [0, 1 << 30])
def test_a_class_of_damaged_pictures_is_refused(tmp_path, keep_bytes):
    bees = [f'labeled/bee/{n}.png' for n in range(4)]
    found = folder.make(str(write(tmp_path, bees)), 8, keep_bytes=keep_bytes)
    with pytest.raises(ValueError, match="No labeled picture of class 'bee' can be decoded, of 4"):
        damage.check(found, split_of(found))
    good = folder.make(str(write(tmp_path, bees[:3])), 8, keep_bytes=keep_bytes)
    damage.check(good, split_of(good))
    with pytest.raises(ValueError, match="class 'bee' can be decoded, of 2"):
        damage.check(good, split_of(good, [0, 4, 5]))  # The pictures that the split drew are.


@pytest.mark.parametrize('part', ['validation', 'test'])
def test_a_part_of_damaged_pictures_is_refused(tmp_path, part):
    names = [f'{part}/{name}/{n}.png' for name in ('ant', 'bee') for n in range(3)]
    write(tmp_path)
    found = folder.make(str(write(tmp_path, [n for n in names if (tmp_path / n).exists()])), 8)
    with pytest.raises(ValueError, match=f'No {part} picture can be decoded, of [46]'):
        damage.check(found, split_of(found))


def test_a_good_set_costs_one_picture_for_each_class(tmp_path, monkeypatch):
    found = folder.make(str(write(tmp_path)), 8, keep_bytes=0)
    asked = []
    true = found.train.damaged
    train_pool = found.train._replace(damaged=lambda n: asked.extend(n) or true(n))
    damage.check(found._replace(train=train_pool), split_of(found))
    assert sorted(asked) == [0, 4]


def test_counts_are_by_part_and_class_whatever_was_read_before(tmp_path):
    bad = ['labeled/bee/1.png', 'labeled/bee/3.png', 'unlabeled/2.png', 'test/ant/0.png']
    write(tmp_path, bad)
    expected = {'train': {'bee': 2, damage.NO_LABEL: 1}, 'test': {'ant': 1}}
    for keep_bytes in (0, 1 << 30):
        for before in ([], [5, 5, 0]):
            found = folder.make(str(tmp_path), 8, keep_bytes=keep_bytes)
            found.train.read(np.array(before, np.int64))
            parts = {
                name: (pool, np.arange(len(pool.label)))
                for name, pool in (
                    ('train', found.train),
                    ('test', found.test),
                    ('validation', found.validation),
                )
            }
            assert damage.count(parts, found.classes) == expected
    some = source.take(found.train, np.array([7, 0, 5]))
    assert damage.count({'some': (some, np.arange(3))}, found.classes) == {'some': {'bee': 2}}
    arrays = source.from_arrays(np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, int))
    assert damage.count({'arrays': (arrays, np.arange(2))}, found.classes) == {}


def test_what_is_left_out_is_counted(tmp_path):
    bad = ['labeled/bee/1.png', 'unlabeled/2.png', 'validation/ant/0.png']
    found = folder.make(str(write(tmp_path, bad)), 8, corrupt='skip')
    assert found.left_out == {
        'labeled': {'bee': 1}, 'unlabeled': {damage.NO_LABEL: 1}, 'validation': {'ant': 1}
    }  # fmt: skip


def load(root, **options):
    network = {
        'model': {'name': 'mlp', 'widths': (4,)},
        'optimizer': {'name': 'sgd', 'learning_rate': 0.1},
    }
    return configs.complete({
        'steps': 4,
        'source': {'name': 'folder', 'path': str(root), 'size': 8, **options},
        'batch': {'labeled': 8, 'unlabeled': 8, 'evaluate': 8},
        'views': {'name': 'images', 'mean': 128.0, 'std': 64.0},
        'networks': {'student': network},
        'algorithm': {'name': 'uda'},
        'every': {'log': 2, 'evaluate': 2, 'save': 2},
    })  # fmt: skip


@pytest.mark.parametrize('command', ['train', 'assemble'])
def test_a_run_of_an_unreadable_class_is_refused_at_the_start(tmp_path, command):
    root = write(tmp_path / 'photos', [f'labeled/bee/{n}.png' for n in range(4)])
    with pytest.raises(ValueError, match="No labeled picture of class 'bee' can be decoded"):
        if command == 'train':
            stages.run(load(root), epath.Path(tmp_path / 'run'))
        else:
            experiment.assemble(load(root))
    assert not (tmp_path / 'run').exists()


@pytest.fixture
def photos(tmp_path):
    return write(tmp_path / 'photos', ['labeled/bee/1.png', 'unlabeled/2.png', 'test/ant/0.png'])


GRAY = {'labeled': {'bee': 1}, 'unlabeled': {'bee': 1, damage.NO_LABEL: 1}, 'test': {'ant': 1}}


@pytest.mark.parametrize('stopped', [False, True])
def test_a_run_tells_of_damaged_pictures(photos, tmp_path, capsys, monkeypatch, stopped):
    config, run = load(photos, keep_bytes=0), epath.Path(tmp_path / 'run')
    if stopped:  # What was read before the end is forgotten.
        parts = experiment.assemble(config)
        loop.folders.prepare(parts, run)
        loop.fit(parts, run)
    written = stages.run(config, run)
    assert written['damaged'] == {'gray': GRAY, 'left_out': {}}
    reported = report.warnings(written)
    assert (
        '1 labeled picture(s) (bee 1) cannot be decoded and are trained on as gray; repair them.'
        in reported
    )
    assert (
        '1 test picture(s) (ant 1) cannot be decoded and are measured as gray; repair them.'
        in reported
    )
    shown = report.show(written, str(run))
    assert 'damaged images      labeled, gray    unlabeled, gray' in shown
    assert all(f'Warning: {sentence}' in shown for sentence in reported)

    output = tmp_path / 'out.csv'
    monkeypatch.setattr(
        'sys.argv', ['predict', f'--workdir={run}', '--split=test', f'--output={output}']
    )
    predict.main()
    assert 'Warning: 1 test picture(s) (ant 1) cannot be decoded' in capsys.readouterr().out


def test_a_run_tells_of_pictures_that_are_left_out(photos, tmp_path):
    run = epath.Path(tmp_path / 'run')
    written = stages.run(load(photos, corrupt='skip'), run)
    left_out = GRAY | {'unlabeled': {damage.NO_LABEL: 1}}
    assert written['damaged'] == {'gray': {}, 'left_out': left_out}
    assert '1 test picture(s) (ant 1) cannot be decoded and are left out.' in report.warnings(
        written
    )
    assert 'test, left out' in report.show(written, str(run))
    assert report.show(
        {k: v for k, v in written.items() if k != 'damaged'}, str(run)
    )  # An old one.


def test_only_what_was_drawn_is_looked_at(tmp_path):
    """Where a run ends within its first epoch."""
    root = write(tmp_path / 'photos', [f'unlabeled/{n}.png' for n in range(6)])
    config = load(root, keep_bytes=0)
    parts = experiment.assemble(config)
    drawn = {n for n in range(14) if parts.source.train.label[n] < 0}
    assert sum(report._damaged(parts)['unlabeled'].values()) == len(drawn)
    with config.unlocked():
        config.steps, config.batch.unlabeled = 1, 8
    assert 0 < sum(report._damaged(parts)['unlabeled'].values()) < len(drawn)
