"""metrics.jsonl: a cut last line is left out, any other change is noticed."""

import functools
import pathlib
import time

import pytest
from etils import epath

from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import folders, metrics
from mpl.run.trackers import interface, tensorboard


def open_writer(folder, step, written, track='tensorboard'):
    start = functools.partial(interface.start, track, config={'steps': 4})
    return metrics.Writer(folder, step, written, start)


@pytest.fixture
def folder(tmp_path):
    """With three lines, up to step 4."""
    folder = epath.Path(tmp_path) / 'run[0]'
    folder.mkdir()
    writer = open_writer(folder, 0, 0)
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
    open_writer(folder, 4, 3).close()
    assert path.read_bytes() == written
    open_writer(folder, 2, 1).close()  # From an older checkpoint.
    assert path.read_bytes() == written[: written.index(b'\n') + 1]
    with pytest.raises(ValueError, match='has 1 lines up to step 4, but .* saved after 3'):
        open_writer(folder, 4, 3)
    path.unlink()
    open_writer(folder, 4, 3).close()
    assert 'is missing, with 3 lines' in caplog.text


def test_events_lie_in_the_folder_whatever_its_name(folder, monkeypatch):
    """'s3:x' begins as a bucket does for tensorboardX."""
    (folder / 's3:x').mkdir()
    monkeypatch.chdir(folder)
    writer = open_writer(epath.Path('s3:x'), 0, 0)
    writer.write(1, {'loss': 1.0})
    writer.close()
    (events,) = (folder / 's3:x' / 'tensorboard').iterdir()
    assert b'loss' in events.read_bytes()


def test_a_full_disk_is_an_error_and_no_endless_wait(folder, monkeypatch):
    make, boards = tensorboard.EventsWriter, []
    keep = lambda prefix: boards.append(make(prefix)) or boards[-1]  # noqa: E731
    monkeypatch.setattr(tensorboard, 'EventsWriter', keep)
    writer = open_writer(folder, 4, 3)
    with open('/dev/full', 'wb') as full:
        boards[0]._py_recordio_writer._writer = full
        with pytest.raises(OSError, match='No space left'):
            for step in range(5, 50):  # More than the queue of a SummaryWriter holds.
                writer.write(step, {'loss': 1.0})
        full.raw.close()


def test_mlflow_has_all_values_of_a_resumed_run_once(tmp_path):
    mlflow = pytest.importorskip('mlflow')
    place = epath.Path(tmp_path) / 'run'
    place.mkdir()
    for step, written in ((0, 0), (2, 1)):
        writer = open_writer(place, step, written, 'mlflow')
        writer.write(step + 2, {'loss/student': 1 / (step + 2), 'histogram': [1, 2]})
        writer.close()
    client = mlflow.MlflowClient(f'file://{place}/mlruns')
    (run,) = client.search_runs([client.get_experiment_by_name('mpl').experiment_id])
    history = client.get_metric_history(run.info.run_id, 'loss/student')
    assert [(value.step, value.value) for value in history] == [(2, 0.5), (4, 0.25)]
    assert run.info.run_name == 'run' and run.info.status == 'FINISHED'
    assert list(run.data.metrics) == ['loss/student']
    (config,) = pathlib.Path(place / 'mlruns').rglob('config.json')
    assert config.read_text() == '{\n  "steps": 4\n}'


def mtime(path):
    return path.stat().mtime


def test_weights_and_biases_keep_the_values_offline(tmp_path, monkeypatch):
    pytest.importorskip('wandb')
    monkeypatch.delenv('WANDB_MODE', raising=False)
    place = epath.Path(tmp_path) / 'run'
    place.mkdir()
    identities = set()
    for step, written in ((0, 0), (2, 1)):
        writer = open_writer(place, step, written, 'wandb')
        writer.write(step + 2, {'loss/student': 1 / (step + 2), 'histogram': [1, 2]})
        writer.close()
        end, content = time.monotonic() + 30, b''
        while b'loss/student' not in content:  # Its own process writes, after `finish` too.
            assert time.monotonic() < end, content
            time.sleep(0.05)
            newest = max((place / 'wandb').glob('offline-run-*/*.wandb'), key=mtime)
            content = newest.read_bytes()
        assert str(1 / (step + 2)).encode() in content
        assert b'histogram' not in content
        identities.add(newest.stem)
    assert len(identities) == 1


@pytest.mark.parametrize('name', ['wandb', 'mlflow'])
def test_a_tracker_that_cannot_be_used_is_a_sentence(name, monkeypatch):
    with pytest.raises(ValueError, match='writes to a disk; gs://bucket/run is in a bucket'):
        monkeypatch.setattr(interface.importlib.util, 'find_spec', lambda package: True)
        interface.start(name, epath.Path('gs://bucket/run'), 0, {})
    monkeypatch.setattr(interface.importlib.util, 'find_spec', lambda package: None)
    with pytest.raises(ValueError, match=f'which needs {name}; install it with: pip install -r'):
        interface.find(name)


def test_an_unknown_tracker_is_a_sentence():
    with pytest.raises(ValueError, match="track is 'tb'; give one of mlflow, tensorboard, wandb"):
        experiments.assemble(configs.load('configs/smoke.py', ['--config.track=tb']))
    assert folders.checksum(configs.load('configs/smoke.py', [])) == folders.checksum(
        configs.load('configs/smoke.py', ['--config.track=wandb'])
    )
