"""Arrays remembered between starts, and names in little memory."""

import json
import logging
import os
import sys

import numpy as np
import pytest

from mpl.data import cache, names


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv('MPL_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache' / 'data'


def ask(found, key, value):
    def find():
        found.append(key)
        return {'value': np.array(value)}

    return cache.load_or_compute('kind', key, find)['value'].tolist()


def test_finds_once_for_each_key(folder):
    found = []
    assert ask(found, ['a', 1], [1, 2]) == [1, 2]
    assert ask(found, ['a', 1], [3]) == [1, 2]
    assert ask(found, ['a', 2], [3]) == [3]
    assert found == [['a', 1], ['a', 2]] and len(list(folder.glob('kind-*.npz'))) == 2
    assert len(list(folder.iterdir())) == 2


@pytest.mark.parametrize('content', [b'', b'PK\x03\x04 and no more', b'no archive'])
def test_a_broken_file_is_made_anew(folder, content, caplog):
    found = []
    ask(found, ['a'], [1])
    next(folder.iterdir()).write_bytes(content)
    assert ask(found, ['a'], [1]) == [1] and len(found) == 2
    assert 'is made anew' in caplog.text
    assert ask(found, ['a'], [1]) == [1] and len(found) == 2


def test_goes_on_where_nothing_can_be_written(tmp_path, monkeypatch, caplog):
    (tmp_path / 'file').write_text('')
    monkeypatch.setenv('MPL_CACHE', str(tmp_path / 'file'))
    with caplog.at_level(logging.WARNING):
        assert ask([], ['a'], [1]) == [1]
    assert 'the next start takes as long' in caplog.text


def test_stamps_tell_of_size_and_time(tmp_path):
    path = tmp_path / 'file'
    path.write_text('a')
    seen = [cache.stamps([str(path)])]
    path.write_text('ab')
    seen.append(cache.stamps([str(path)]))
    os.utime(path, ns=(0, 5))
    seen.append(cache.stamps([str(path)]))
    assert seen[0] != seen[1] != seen[2] and seen[2][0][:3] == (str(path), 2, 5)
    path.write_text('cd')
    os.utime(path, ns=(0, 5))
    assert cache.stamps([str(path)]) != seen[2]  # of the same size, its time set back
    json.dumps(seen)


def test_names_read_like_a_list():
    plain = ['a', '', 'käfer.jpg', 'train/17', b'\xff.png'.decode(errors='surrogateescape')]
    packed = names.pack(iter(plain))
    assert list(packed) == plain and [packed[n] for n in range(5)] == plain and len(packed) == 5
    assert packed[np.int64(2)] == 'käfer.jpg' and packed[-2] == 'train/17'
    assert packed[1:4] == plain[1:4] and packed[::-2] == plain[::-2] and 'a' in packed
    for number in (5, -6):
        with pytest.raises(IndexError):
            packed[number]
    assert list(names.pack([])) == []


def test_names_take_little_memory():
    packed = names.pack(f'{n:08}' for n in range(1000))
    assert sys.getsizeof(packed.text) + packed.end.nbytes < 17 * 1000


def test_a_changed_byte_is_never_read_as_another_value(folder, caplog):
    found, expected = [], [1, 2, 3]
    ask(found, ['a'], expected)
    path = next(folder.iterdir())
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        assert ask(found, ['a'], expected) == expected
    assert len(found) > len(whole) / 2  # Most are noticed; the others have no effect.


def test_goes_on_without_a_home(monkeypatch, caplog):
    monkeypatch.delenv('MPL_CACHE')

    def homeless(path):
        raise RuntimeError('Could not determine home directory.')

    monkeypatch.setattr(cache.Path, 'expanduser', homeless)
    assert ask([], ['a'], [1]) == [1]
    assert 'Could not determine home directory. Set MPL_CACHE' in caplog.text
