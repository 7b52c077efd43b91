"""Files of logits and features: whole from the start, gone on with, refused where it is another one."""

import contextlib
import os

import numpy as np
import pytest

from mpl.models.network import Outputs
from mpl.run import row_files

DATA = {'classes': ['a', 'b'], 'parts': {'train': None}, 'split': '0123'}
MADE_BY = dict(
    workdir='runs/a', config='1', state=2, network='student', pool='train', split='unlabeled',
    images=None, data=DATA,
)  # fmt: skip


@contextlib.contextmanager
def written(path, count=11, classes=5, **changes):
    with row_files.open_rows(str(path), count, classes, MADE_BY | changes) as rows:
        yield rows


def fill(path, numbers, values):
    """Writes rows as `predict` does."""
    chunk = ([str(n) for n in numbers], np.array(numbers), Outputs(None, values))
    with written(path) as rows:
        assert list(row_files.store([rows], iter([chunk]))) == [chunk]


SAID = np.arange(15, dtype=np.float32).reshape(3, 5)


def test_rows_are_nan_until_written_and_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(row_files, 'CHUNK_VALUES', 12)  # Of two rows at a time.
    path = tmp_path / 'a.npy'
    with written(path):
        assert np.load(path).shape == (11, 5) and np.isnan(np.load(path)).all()
    fill(path, [1, 4, 9], SAID)
    with written(path) as rows:
        rows.values[5] = 1  # As where a kill came before its checksum.
    again = row_files.read(str(path))
    np.testing.assert_array_equal(again[np.array([1, 4, 9])], SAID)
    np.testing.assert_array_equal(again[np.array([[9, 1], [4, 4]])], SAID[[[2, 0], [1, 1]]])
    assert np.isnan(again[np.array([0, 5])]).all()
    wanted = np.array([0, 1, 4, 5, 9, 10])
    assert row_files.missing(again, wanted).tolist() == [0, 5, 10]
    assert not len(row_files.missing(again, wanted[:0]))
    assert sorted(os.listdir(tmp_path)) == ['a.npy', 'a.npy.crc', 'a.npy.json']


@pytest.mark.parametrize('change', ['a bit', 'rows exchanged', 'another checksum', 'nan'])
def test_row_that_was_changed_is_noticed_when_it_is_read_and_computed_anew(change, tmp_path):
    path = tmp_path / 'a.npy'
    fill(path, [1, 4, 9], SAID)
    with written(path) as rows:
        if change == 'a bit':
            rows.values[4].view(np.uint32)[2] ^= 1
        elif change == 'rows exchanged':
            rows.values[[4, 9]] = rows.values[[9, 4]]
            rows.checksums[[4, 9]] = rows.checksums[[9, 4]]
        elif change == 'nan':
            rows.values[4, 1] = np.nan
        else:
            rows.checksums[4] ^= 1 << 20
    rows = row_files.read(str(path))
    np.testing.assert_array_equal(rows[np.array([1])], SAID[:1])
    with pytest.raises(ValueError, match=r'not as they were written, the first of example 4'):
        rows[np.array([1, 4])]
    assert 4 in row_files.missing(rows, np.array([1, 4, 9]))


OTHERS = {
    'network: student -> teacher': dict(network='teacher'),
    'another config': dict(config='2', state=3),
    'other weights of the same config': dict(state=3),
    'split: unlabeled -> train': dict(split='train'),
    'classes: a, b -> a, c': dict(data=DATA | {'classes': ['a', 'c']}),
    'split: 0123 -> 4567': dict(data=DATA | {'split': '4567'}),
}


@pytest.mark.parametrize('message', OTHERS)
def test_file_that_something_else_made_is_refused_and_kept(message, tmp_path):
    path = tmp_path / 'a.npy'
    fill(path, [1, 4, 9], SAID)
    before = [(tmp_path / name).read_bytes() for name in sorted(os.listdir(tmp_path))]
    with (
        pytest.raises(ValueError, match=f'not of .*{message}') as caught,
        written(path, **OTHERS[message]),
    ):
        pass
    assert '\n' not in str(caught.value)
    assert [(tmp_path / name).read_bytes() for name in sorted(os.listdir(tmp_path))] == before
    with written(path, workdir='moved'):  # A place is nothing that made it.
        pass


def test_other_files_are_refused(tmp_path):
    path = tmp_path / 'a.npy'
    for array in (np.zeros(3, np.float32), np.zeros((3, 2)), None):
        if array is None:
            path.write_text('no array')
        else:
            np.save(path, array)
        with pytest.raises(ValueError, match='does not hold logits'), written(path):
            pass
    np.save(path, np.zeros((11, 5), np.float32))
    with pytest.raises(ValueError, match='does not record its provenance'), written(path):
        pass
    assert os.listdir(tmp_path) == ['a.npy']


def test_files_beside_it_that_were_cut_or_changed_are_refused(tmp_path):
    path = tmp_path / 'a.npy'
    fill(path, [1, 4, 9], SAID)
    contents = {name: (tmp_path / name).read_bytes() for name in os.listdir(tmp_path)}

    def refused(name, content, message):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            row_files.read(str(path))
        (tmp_path / name).write_bytes(contents[name])

    refused('a.npy.crc', contents['a.npy.crc'][:40], 'was truncated or exchanged')
    refused('a.npy.crc', contents['a.npy.crc'][:41], 'was truncated or exchanged')
    refused('a.npy.crc', b'', 'was truncated or exchanged')
    refused('a.npy.json', contents['a.npy.json'].replace(b'runs/a', b'runs/b'), 'checksum')
    refused('a.npy', contents['a.npy'][:-4], 'does not hold logits')
    refused(
        'a.npy', contents['a.npy'].replace(b'(11, 5)', b'(5, 11)'), 'was truncated or exchanged'
    )
    refused('a.npy', contents['a.npy'].replace(b'(11, 5)', b'(11, 4)'), 'has 4 classes')


def test_features_are_in_half_precision_and_no_logits(tmp_path):
    path, kind = tmp_path / 'a.npy', row_files.FEATURES
    outputs = Outputs(SAID / 3, SAID)
    with (
        row_files.open_rows(str(tmp_path / 'l.npy'), 11, 5, MADE_BY) as logits,
        row_files.open_rows(str(path), 11, 5, MADE_BY, kind) as rows,
    ):
        list(row_files.store([logits, rows], iter([(['1'] * 3, np.array([1, 4, 9]), outputs)])))
        logits.values[4], logits.checksums[4] = 0, 7
        rows.checksums[9] = 0
        assert row_files.missing_in_any([logits, rows], np.arange(1, 10, 1)).tolist() == [
            2, 3, 4, 5, 6, 7, 8, 9,
        ]  # fmt: skip
    found = row_files.read(str(path), kind)
    np.testing.assert_array_equal(found[np.array([1, 4])], (SAID[:2] / 3).astype(np.float16))
    assert np.load(path).dtype == np.float16 and os.path.getsize(path) < 11 * 5 * 2 + 200
    with pytest.raises(ValueError, match=r'not hold logits, float32 \[examples, classes\] as mpl'):
        row_files.read(str(path))
    with pytest.raises(ValueError, match='not hold features, float16'):
        row_files.read(str(tmp_path / 'l.npy'), kind)


def test_two_processes_do_not_write_one_file(tmp_path):
    """The second is refused, and takes nothing from the first."""
    path = tmp_path / 'a.npy'
    with written(path) as rows:
        with pytest.raises(ValueError, match='is being written by another process'), written(path):
            pass
        rows.values[3] = 7
    assert np.load(path)[3].tolist() == [7] * 5
    with written(path):  # Let go of.
        pass


def test_what_is_not_finite_is_not_written(tmp_path):
    infinite = np.array([[0, np.inf, 0, 0, 0]], np.float32)
    with pytest.raises(FloatingPointError, match='not finite, for one of 0 to 0'):
        fill(tmp_path / 'a.npy', [0], infinite)
    assert np.isnan(np.load(tmp_path / 'a.npy')).all()
    assert not np.fromfile(tmp_path / 'a.npy.crc', np.uint32).any()
