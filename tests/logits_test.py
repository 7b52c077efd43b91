"""The file of logits: whole from the start, gone on with, refused where it is another one."""

import numpy as np
import pytest

from mpl.models.network import Outputs
from mpl.run import logits


def test_rows_are_nan_until_written_and_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(logits, 'ENTRIES', 12)  # Of two rows at a time.
    path = str(tmp_path / 'a.npy')
    rows = logits.open_rows(path, 11, 5)
    assert np.load(path).shape == (11, 5) and np.isnan(np.load(path)).all()
    said = np.arange(15, dtype=np.float32).reshape(3, 5)
    chunk = (['a', 'b', 'c'], np.array([1, 4, 9]), Outputs(None, said))
    assert list(logits.keep(rows, iter([chunk]))) == [chunk]
    rows[5, 2:] = 1  # As where a kill came in the middle of it.
    again = logits.open_rows(path, 11, 5)
    np.testing.assert_array_equal(again[[1, 4, 9]], said)
    wanted = np.array([0, 1, 4, 5, 9, 10])
    assert logits.missing(again, wanted).tolist() == [0, 5, 10]
    assert not len(logits.missing(again, wanted[:0]))
    assert [entry.name for entry in tmp_path.iterdir()] == ['a.npy']


def test_other_files_are_refused(tmp_path):
    path = str(tmp_path / 'a.npy')
    logits.open_rows(path, 11, 5)
    with pytest.raises(ValueError, match='logits of 11 examples and 5 classes, but .* 12 and 5'):
        logits.open_rows(path, 12, 5)
    for array in (np.zeros(3, np.float32), np.zeros((3, 2)), None):
        if array is None:
            (tmp_path / 'a.npy').write_text('no array')
        else:
            np.save(path, array)
        with pytest.raises(ValueError, match='does not hold logits'):
            logits.read(path)


def test_what_is_not_finite_is_not_written(tmp_path):
    rows = logits.open_rows(str(tmp_path / 'a.npy'), 2, 3)
    said = np.array([[0, np.inf, 0]], np.float32)
    with pytest.raises(FloatingPointError, match='not finite, for one of x to x'):
        list(logits.keep(rows, iter([(['x'], np.array([0]), Outputs(None, said))])))
    assert np.isnan(rows).all()
