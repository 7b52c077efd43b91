import json

import pytest
from etils import epath

from mpl.run import records

RECORD = {'steps': 100, 'rate': 0.1, 'names': ['a', 'é'], 'inside': {'b': None, 'a': True}}


def test_a_record_comes_back_as_it_was_written(tmp_path):
    path = epath.Path(tmp_path / 'x.json')
    records.write(path, RECORD)
    assert records.read(path, 'a record', 'write it again') == RECORD


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


def test_a_record_without_a_checksum_is_refused(tmp_path):
    path = epath.Path(tmp_path / 'x.json')
    path.write_text(json.dumps(RECORD))
    with pytest.raises(ValueError, match='checksum does not match'):
        records.read(path, 'a record', 'write it again')
