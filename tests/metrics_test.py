"""metrics.jsonl: a cut last line is left out, any other change is noticed."""

import pytest
from etils import epath

from mpl.run import metrics


@pytest.fixture
def folder(tmp_path):
    """With three lines, up to step 4."""
    folder = epath.Path(tmp_path) / 'run[0]'
    folder.mkdir()
    writer = metrics.Writer(folder, 0, 0)
    writer.write(2, {'loss': 0.5, 'unlabeled/student/histogram': [1, 2]})
    writer.write(4, {'loss': 1 / 3})
    writer.write(4, {'validation/student/accuracy': 0.25})
    assert writer.written == 3
    writer.close()
    return folder


def test_no_single_byte_can_be_changed_without_notice(folder):
    path = folder / 'metrics.jsonl'
    written, lines = path.read_bytes(), metrics.read(path)
    assert [line['step'] for line in lines] == [2, 4, 4] and lines[1] == {'step': 4, 'loss': 1 / 3}
    for place in range(len(written)):
        for flip in (0x01, 0x02, 0x10, 0x2A, 0x80):  # 0x2A makes a line break of a space.
            changed = bytearray(written)
            changed[place] ^= flip
            path.write_bytes(changed)
            try:
                assert metrics.read(path) == lines
            except ValueError as error:
                assert 'is not as it was written' in str(error) and 'restore the file' in str(error)


def test_only_a_cut_last_line_is_left_out(folder):
    path = folder / 'metrics.jsonl'
    written, lines = path.read_bytes(), metrics.read(path)
    ends = [n for n, byte in enumerate(written) if byte == ord('\n')]
    for length in range(len(written)):
        path.write_bytes(written[:length])
        assert metrics.read(path) == lines[: sum(end <= length for end in ends)]


def test_lost_lines_are_noticed_when_the_run_goes_on(folder, caplog):
    path = folder / 'metrics.jsonl'
    written = path.read_bytes()
    metrics.Writer(folder, 4, 3).close()
    assert path.read_bytes() == written
    metrics.Writer(folder, 2, 1).close()  # From an older checkpoint.
    assert path.read_bytes() == written[: written.index(b'\n') + 1]
    with pytest.raises(ValueError, match='has 1 lines up to step 4, but .* saved after 3'):
        metrics.Writer(folder, 4, 3)
    path.unlink()
    metrics.Writer(folder, 4, 3).close()
    assert 'is missing, with 3 lines' in caplog.text


def test_events_lie_in_the_folder_whatever_its_name(folder, monkeypatch):
    """'s3:x' begins as a bucket does for tensorboardX."""
    (folder / 's3:x').mkdir()
    monkeypatch.chdir(folder)
    writer = metrics.Writer(epath.Path('s3:x'), 0, 0)
    writer.write(1, {'loss': 1.0})
    writer.close()
    (events,) = (folder / 's3:x' / 'tensorboard').iterdir()
    assert b'loss' in events.read_bytes()


def test_a_full_disk_is_an_error_and_no_endless_wait(folder):
    writer = metrics.Writer(folder, 4, 3)
    with open('/dev/full', 'wb') as full:
        writer._board._py_recordio_writer._writer = full
        with pytest.raises(OSError, match='No space left'):
            for step in range(5, 50):  # More than the queue of a SummaryWriter holds.
                writer.write(step, {'loss': 1.0})
        full.raw.close()
