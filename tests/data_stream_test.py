"""The order of examples, and fetching ahead."""

import subprocess
import sys
import threading
import time

import chex
import numpy as np
import pytest

from mpl.data import stream

NUMBERS = np.array([5, 7, 11, 13, 17, 19, 23])


def joined(batch, steps, numbers=NUMBERS, seed=0, purpose='labeled'):
    return np.concatenate(
        [stream.sample(seed, purpose, step, batch, numbers) for step in range(steps)]
    )


@pytest.mark.parametrize('batch', [1, 3, 7, 8, 20, 40])
def test_each_number_comes_once_in_every_epoch(batch):
    steps = -(-70 // batch)
    order = joined(batch, steps)[:70]
    chex.assert_type(order, np.int64)
    for epoch in order.reshape(10, 7):
        np.testing.assert_array_equal(np.sort(epoch), NUMBERS)
    assert len({tuple(epoch) for epoch in order.reshape(10, 7)}) > 5


def test_stream_does_not_depend_on_how_it_is_cut():
    np.testing.assert_array_equal(joined(1, 120), joined(40, 3))
    np.testing.assert_array_equal(joined(3, 40), joined(8, 15))


def test_rows_are_a_function_of_their_arguments_alone():
    expected = [stream.sample(0, 'labeled', step, 5, NUMBERS) for step in range(30)]
    for step in reversed(range(30)):
        np.testing.assert_array_equal(stream.sample(0, 'labeled', step, 5, NUMBERS), expected[step])


def test_seeds_and_purposes_have_streams_of_their_own():
    streams = [
        joined(7, 10, seed=seed, purpose=purpose)
        for seed in (0, 1)
        for purpose in ('labeled', 'unlabeled')
    ]
    for i, one in enumerate(streams):
        for other in streams[:i]:
            assert (one == other).mean() < 0.5


def test_refuses_an_empty_stream():
    with pytest.raises(ValueError, match='There are no labeled examples to draw batches of 4 from'):
        stream.sample(0, 'labeled', 0, 4, np.array([], int))


def test_prefetch_keeps_the_order_though_threads_end_in_another():
    def fetch(step):
        time.sleep(0.02 if step % 3 == 0 else 0)
        return step

    assert list(stream.prefetch(fetch, range(20), depth=6, threads=4)) == list(range(20))


def test_prefetch_works_ahead_by_depth_and_no_further():
    begun = []
    batches = stream.prefetch(lambda step: begun.append(step) or step, range(100), 3, 2)
    assert next(batches) == 0
    deadline = time.monotonic() + 5
    while len(begun) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert sorted(begun) == [0, 1, 2, 3]  # the one given out and three ahead
    batches.close()


def test_prefetch_runs_fetches_at_the_same_time():
    meeting = threading.Barrier(3, timeout=5)  # breaks unless three fetches meet

    def fetch(step):
        meeting.wait()
        return step

    assert list(stream.prefetch(fetch, range(6), depth=3, threads=3)) == list(range(6))


def test_prefetch_raises_an_error_before_earlier_steps_are_done():
    release = threading.Event()

    def fetch(step):
        if step == 0:
            release.wait(10)
        if step == 2:
            raise OSError('disk gone')
        return step

    batches = stream.prefetch(fetch, range(10), depth=4, threads=4)
    start = time.monotonic()
    with pytest.raises(OSError, match='disk gone'):
        next(batches)
    assert time.monotonic() - start < 5
    release.set()


def threads_at_end():
    """The threads of prefetch, once those that are about to end have ended."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        alive = [t for t in threading.enumerate() if t.name.startswith('prefetch')]
        if not alive:
            break
        time.sleep(0.01)
    return alive


def test_prefetch_ends_its_threads_and_begins_nothing_new_when_closed():
    assert not threads_at_end()
    begun = []

    def fetch(step):
        begun.append(step)
        time.sleep(0.02)
        return step

    batches = stream.prefetch(fetch, iter(int, 1), depth=50, threads=2)  # 0 for ever
    next(batches)
    assert any(t.name.startswith('prefetch') for t in threading.enumerate())
    batches.close()
    count = len(begun)
    assert not threads_at_end()
    assert len(begun) <= count + 2


def test_a_program_that_leaves_in_the_middle_ends():
    program = (
        'import time\nfrom mpl.data import stream\n'
        'batches = stream.prefetch(lambda step: time.sleep(0.01) or step, iter(int, 1), 8, 2)\n'
        'next(batches)\nnext(batches)\n'
    )
    done = subprocess.run([sys.executable, '-c', program], timeout=30, capture_output=True)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize('depth, threads', [(0, 1), (1, 0)])
def test_prefetch_refuses(depth, threads):
    with pytest.raises(ValueError, match='both must be at least 1'):
        stream.prefetch(lambda step: step, range(3), depth, threads)
