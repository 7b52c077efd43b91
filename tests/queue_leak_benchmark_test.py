"""The benchmark of the leak into queues: averaged keys do not depend on their batch, those of a batch do."""

import pytest

from benchmarks import queue_leak

# Two batches of keys in the queue, which two steps fill.
SMALL = ['batch.labeled=0', 'batch.unlabeled=32', 'algorithm.queue=64', 'steps_per_call=2']
SMALL += [f'networks.{role}.optimizer.warmup_steps=0' for role in ('student', 'projector')]


@pytest.mark.parametrize('keys', ['averaged', 'batch'])
def test_keys_are_told_by_their_batch_alone(keys):
    found = queue_leak.measure(0, keys, 2, *(f'--config.{text}' for text in SMALL))
    assert (found['together'] == found['among others']) == (keys == 'averaged')
