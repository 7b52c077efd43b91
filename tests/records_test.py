import json

import pytest
from etils import epath

from mpl.run import records

RECORD = {'steps': 100, 'rate': 0.1, 'names': ['a', 'é'], 'inside': {'b': None, 'a': True}}


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = epath.Path(tmp_path / 'x.json')
    records.write(path, RECORD)
    found = records.read(path, 'a record', 'write it again')
    assert found == RECORD and list(found) == list(RECORD)  # The first network counts in tables.


def test_no_single_byte_can_be_changed_without_notice(tmp_path):
    path = epath.Path(tmp_path / 'x.json')
    records.write(path, RECORD)
    written = path.read_bytes()
    for place in range(len(written)):
        for flip in (0x01, 0x10, 0x80):
            changed = bytearray(written)
            changed[place] ^= flip
            path.write_bytes(changed)
            try:
                found = records.read(path, 'a record', 'write it again')
            except ValueError as error:
                assert 'write it again' in str(error)
            else:
                assert found == RECORD  # White space between the values.


def test_what_can_not_be_written_leaves_the_file_before(tmp_path, monkeypatch):
    path = epath.Path(tmp_path / 'x.json')
    records.write(path, RECORD)

    def fail(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(type(path), 'replace', fail)
    with pytest.raises(OSError, match='No space'):
        records.write(path, {})
    assert records.read(path, 'a record', 'write it again') == RECORD
    assert [entry.name for entry in tmp_path.iterdir()] == ['x.json']


def test_a_record_without_a_checksum_is_refused(tmp_path):
    path = epath.Path(tmp_path / 'x.json')
    path.write_text(json.dumps(RECORD))
    with pytest.raises(ValueError, match='it has no checksum'):
        records.read(path, 'a record', 'write it again')


def test_a_file_nested_too_deep_is_refused(tmp_path):
    path = epath.Path(tmp_path / 'x.json')
    path.write_text('[' * 100_000)
    with pytest.raises(ValueError, match='is not a record: .*; write it again'):
        records.read(path, 'a record', 'write it again')
