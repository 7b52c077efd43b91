"""Work directories in a bucket: a stand-in of the path layer keeps gs:// in a local folder.

Its files cannot grow, as in the real one. Orbax speaks to buckets by a library of its own, so
checkpoints are not in these tests.
"""

import functools
import json
import os

import pytest
from etils import epath
from etils.epath import backend, gpath

from mpl.run import config as configs
from mpl.run import data_record, folders, metrics, split_files, teacher
from mpl.run import experiment as experiments
from mpl.run.trackers import interface, tensorboard


class Bucket:
    """Keeps gs://x in <folder>/x; refuses what objects in a bucket do not do."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __getattr__(self, name):
        def method(*given, **options):
            assert name != 'open' or not set('a+') & set(given[1]), 'objects do not grow'
            assert os.fspath(given[0]).startswith('gs://'), given
            there = [os.fspath(a).replace('gs:/', self.folder, 1) for a in given]
            return getattr(backend.os_backend, name)(*there, **options)

        return method


def open_writer(folder, step, written, track='tensorboard'):
    start = functools.partial(interface.start, track, config={'steps': 4})
    return metrics.Writer(folder, step, written, start)


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    monkeypatch.setitem(gpath._PREFIX_TO_BACKEND, 'gs', Bucket(tmp_path))
    monkeypatch.setattr(gpath, '_is_tf_installed', lambda: False)
    monkeypatch.setattr(tensorboard, 'EventsWriter', Silent)
    return epath.Path('gs://bucket/run')


class Silent:
    """TensorBoard's writer has a way of its own too."""

    def __init__(self, prefix):
        assert prefix == 'gs://bucket/run/tensorboard/events'

    def write_event(self, _):
        pass

    flush = close = lambda self: None


def test_a_run_in_a_bucket_is_known_again(bucket, tmp_path):
    config = configs.load('configs/smoke.py', [])
    experiment = experiments.assemble(config)
    folders.check(config, bucket)
    folders.prepare(experiment, bucket)
    assert json.loads((tmp_path / 'bucket/run/config.json').read_text())['steps'] == 20
    folders.check(config, bucket)
    record = data_record.make(experiment)
    data_record.check(record, bucket, experiment.source)
    with folders.lock(bucket):
        pass
    kept, _ = split_files.read(bucket / 'split.json', record)
    assert kept.hash == experiment.split.hash
    with pytest.raises(ValueError, match='holds a run of another config .steps: 20 -> 30'):
        folders.check(configs.load('configs/smoke.py', ['--config.steps=30']), bucket)


def test_metrics_are_whole_at_every_checkpoint(bucket, tmp_path):
    bucket.mkdir(parents=True)
    there = tmp_path / 'bucket/run/metrics.jsonl'
    writer = open_writer(bucket, 0, 0)
    for step in (1, 2, 3):
        writer.write(step, {'loss': 1.0 / step})
        if step == 2:
            writer.save()
    assert [line['step'] for line in metrics.read(bucket / 'metrics.jsonl')] == [1, 2]
    writer.close()
    assert len(there.read_text().splitlines()) == 3
    again = open_writer(bucket, 2, 2)  # What came after step 2 is done again.
    again.write(4, {'loss': 0.0})
    again.close()
    assert [line['step'] for line in metrics.read(bucket / 'metrics.jsonl')] == [1, 2, 4]


def test_a_run_with_a_teacher_requires_a_disk(bucket):
    config = configs.load('configs/digits.py:distill', [])
    experiment = experiments.assemble(config)
    with pytest.raises(ValueError, match='gs://bucket/run is in a bucket: give a folder on a disk'):
        teacher.check_run(experiment, bucket)
