"""Batches: the same parts cut on the host and on the device, by rows of this process, compiled once."""

import functools
import io
import json
import operator
import os
import pathlib
import socket
import subprocess
import sys
from concurrent import futures

import chex
import jax
import numpy as np
import pytest
from etils import epath
from PIL import Image

from mpl.algorithms import losses
from mpl.data import batches, cropping, encoded, source, splits
from mpl.parallel import sharding
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import flops, loop
from mpl.run.experiment import Experiment

ROOT = pathlib.Path(__file__).resolve().parents[1]
SIZE = 16
PIXELS = np.random.RandomState(0).randint(0, 256, (40, 24, 30, 3), np.uint8)
LABEL = np.arange(40, dtype=np.int32) % 4


def resident(height=24, width=30):
    """Pictures of one size, in memory."""
    pool = source.from_arrays(PIXELS[:, :height, :width], LABEL)
    return source.Source(pool, None, None, tuple('abcd'), (height, width, 3))


def small():
    return resident(SIZE, SIZE)


def files(keep_bytes=0):
    """The same pictures, encoded without loss; `read` gives their middle squares."""
    pictures = []
    for pixels in PIXELS:
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, 'PNG')
        pictures.append(buffer.getvalue())
    part = encoded.Part(
        lambda numbers: [pictures[n] for n in numbers], LABEL, [str(n) for n in range(40)], False
    )
    form = encoded.Format(SIZE, 3, 0.875)
    pool = encoded.pool([part], form, (SIZE, SIZE, 3), 'pictures', keep_bytes, 2)
    return source.Source(pool, None, None, tuple('abcd'), (SIZE, SIZE, 3), 0.875)


def complete(views={}, **more):
    network = dict(
        model=dict(name='mlp', widths=(4,)), optimizer=dict(name='sgd', learning_rate=0.1)
    )
    config = dict(
        steps=24,
        source=dict(name='digits'),  # not read, since one is given
        split=dict(labels=8, validation=4),
        batch=dict(labeled=8, unlabeled=16, evaluate=8),
        views=dict(name='crops', mean=0.0, std=1.0, size=SIZE) | views,
        networks=dict(student=network),
        algorithm=dict(name='supervised'),
        every=dict(log=2, evaluate=8, save=24),
        steps_per_call=2,
    )
    return configs.complete(config | more)


def prepare(source, devices=1, **more):
    """An experiment as far as its batches go, without networks."""
    config = complete(**more)
    split = splits.draw(
        source.train.label, **{k: config.split[k] for k in ('labels', 'validation')}
    )
    views = configs.build('augment', config.views)
    mesh = sharding.make_mesh(jax.devices()[:devices])
    return Experiment(config, source, split, views, {}, None, mesh, None, None)


def seen(experiment, step):
    """The views of a step."""
    batch = batches.make_fetch(experiment.pipeline, 1)(step)
    batch = {name: jax.tree.map(lambda a: a[0], batch[name]) for name in ('labeled', 'unlabeled')}
    if batches.is_resident(experiment.pipeline):
        for part in batch.values():
            part['image'] = PIXELS[part['index']]
    view = jax.jit(functools.partial(batches.view, experiment.views))
    return view(batch, jax.random.key(0), step)


def test_host_and_device_cut_the_same_parts(fast_compile):
    host, device = prepare(files()), prepare(resident())
    assert cropping.on_host(host.source, host.views, 'labeled')
    assert not cropping.on_host(device.source, device.views, 'labeled')
    assert not batches.is_resident(host.pipeline) and batches.is_resident(device.pipeline)
    one, other = seen(host, 3), seen(device, 3)
    for name, shown in (('labeled', 'image'), ('unlabeled', 'weak'), ('unlabeled', 'strong')):
        np.testing.assert_array_equal(one[name]['index'], other[name]['index'])
        there, here = np.asarray(one[name][shown]), np.asarray(other[name][shown])
        chex.assert_shape(there, (None, SIZE, SIZE, 3))
        assert there.std() > 20
        # Of 255: weights are float32 there and of 22 bits here, each rounded to whole pixels.
        assert np.abs(there - here).max() <= 1
        assert set(one[name]) == set(other[name])
    assert set(one['unlabeled']) == {'weak', 'strong', 'index'}
    assert set(one['labeled']) == {'image', 'label', 'index'}


PAIRS = {
    'name': 'pairs', 'mean': 0.0, 'std': 1.0, 'size': SIZE, 'mirror': False,
    'first': {'name': 'identity'}, 'small_parts': 1, 'small_size': 8,
}  # fmt: skip


def test_each_view_has_a_crop_of_its_own_on_the_host_as_on_the_device(fast_compile):
    host, device = prepare(files(), views=PAIRS), prepare(resident(), views=PAIRS)
    streamed = prepare(resident(), views=PAIRS, resident_bytes=0)
    assert cropping.on_host(host.source, host.views, 'unlabeled')
    assert not cropping.on_host(host.source, host.views, 'labeled')
    assert batches.is_resident(device.pipeline) and not batches.is_resident(host.pipeline)
    one, other, third = (seen(given, 3)['unlabeled'] for given in (host, device, streamed))
    assert set(one) == set(other) == {'view_0', 'view_1', 'small_0', 'index'}
    for name in ('view_0', 'view_1', 'small_0'):
        assert one[name].shape[1] == (8 if name == 'small_0' else SIZE)
        assert np.abs(np.asarray(one[name]) - np.asarray(other[name])).max() <= 1
        np.testing.assert_array_equal(other[name], third[name])
    assert np.abs(one['view_0'] - one['view_1']).mean() > 10
    chex.assert_trees_all_equal_shapes_and_dtypes(
        batches.zeros(host.pipeline, False)['unlabeled'], one
    )


def test_a_batch_may_have_no_labeled_part(fast_compile):
    given = prepare(small(), batch={'labeled': 0, 'unlabeled': 16, 'evaluate': 8})
    assert set(batches.make_fetch(given.pipeline, 1)(0)) == {'step', 'unlabeled'}
    assert set(batches.zeros(given.pipeline, False)) == {'unlabeled'}


def test_only_boxes_are_sent_where_images_are_resident():
    held, streamed = prepare(resident()), prepare(resident(), resident_bytes=0)
    one, other = (
        batches.make_fetch(experiment.pipeline, 2)(6)['unlabeled']
        for experiment in (held, streamed)
    )
    assert set(one) == {'box', 'index'} and set(other) == {'box', 'index', 'image'}
    np.testing.assert_array_equal(one['box'], other['box'])
    np.testing.assert_array_equal(other['image'], PIXELS[other['index']])


def test_kept_squares_do_not_change_the_parts():
    """How much is kept in memory is a matter of speed."""
    streamed, kept = prepare(files()), prepare(files(1 << 30))
    one, other = (
        batches.make_fetch(e.pipeline, 1)(0)['unlabeled']['image'] for e in (streamed, kept)
    )
    np.testing.assert_array_equal(one, other)


def test_parts_of_squares_are_cut_on_the_device():
    experiment = prepare(files(1 << 30), views=dict(crop_from='square', size=8))
    assert batches.is_resident(experiment.pipeline)
    box = np.asarray(batches.make_fetch(experiment.pipeline, 1)(0)['unlabeled']['box'])
    assert box.min() >= 0 and box.max() == SIZE


@pytest.mark.parametrize('source', [files, resident])
def test_parts_do_not_depend_on_how_many_steps_a_call_has(source):
    experiment = prepare(source())
    single, many = (
        batches.make_fetch(experiment.pipeline, 1),
        batches.make_fetch(experiment.pipeline, 4)(4),
    )
    drawn = []
    for step in range(4, 8):
        batch = single(step)
        own = slice(step - 4, step - 3)
        chex.assert_trees_all_equal(batch, jax.tree.map(operator.itemgetter(own), many))
        drawn.append(np.asarray(batch['unlabeled']['image' if source is files else 'box']))
    assert not np.array_equal(drawn[0], drawn[1])


def test_seeds_and_epochs_draw_other_parts():
    def boxes(seed, step):
        batch = batches.make_fetch(prepare(resident(), seed=seed).pipeline, 1)(step)['labeled']
        return np.asarray(batch['box'][0])[np.argsort(batch['index'][0])]

    first = boxes(0, 0)  # every step takes all 8 labeled images
    assert not np.array_equal(first, boxes(0, 1)) and not np.array_equal(first, boxes(1, 0))
    np.testing.assert_array_equal(first, boxes(0, 0))


@pytest.mark.parametrize(
    'make, more',
    [(small, {}), (small, dict(resident_bytes=0)), (files, {})],
    ids=['resident', 'streamed', 'files'],
)
def test_nothing_is_traced_after_the_first_steps(make, more, tmp_path, fast_compile, monkeypatch):
    """A run of 12 calls, with log lines after each and an evaluation after every fourth.

    A second trace of the update is an error that shows its stack; anything else is counted.
    """
    experiment = experiments.assemble(complete(**more), jax.devices()[:1], make())
    chex.clear_trace_counter()  # It is kept over cases of a test.
    update = chex.assert_max_traces(experiment.algorithm.update, n=1)
    experiment = experiment._replace(algorithm=experiment.algorithm._replace(update=update))
    events, counts = [], []
    jax.monitoring.register_event_duration_secs_listener(
        note := lambda *a, **_: events.append(a[0])
    )
    true = loop.make_steps

    def make_steps(experiment):
        steps = true(experiment)

        def call(*arguments):
            counts.append(sum(event.startswith('/jax/core/compile') for event in events))
            return steps(*arguments)

        return call

    monkeypatch.setattr(loop, 'make_steps', make_steps)
    try:
        loop.fit(experiment, epath.Path(tmp_path) / 'run')
    finally:
        jax.monitoring.unregister_event_duration_listener(note)
    assert len(counts) == 12 and counts[1] > counts[0]  # the first call
    assert counts[4] > counts[3]  # the first evaluation
    assert counts[2:4] == [counts[2]] * 2 and counts[5:] == [counts[5]] * 7
    assert counts[2] == counts[1] and counts[5] == counts[4]


def test_an_update_is_traced_once_for_its_checks_and_its_flops(monkeypatch):
    traced, uda = [], losses.uda
    monkeypatch.setattr(losses, 'uda', lambda *given: traced.append(1) or uda(*given))
    config = configs.load('configs/digits.py:uda', [])
    assert flops.of_step(experiments.assemble(config, jax.devices()[:1])) > 0
    assert len(traced) == 1


def test_networks_of_one_size_are_refused_another_for_evaluation():
    with pytest.raises(ValueError, match='views.size is 8, but the source reads images of 16 x 16'):
        experiments.assemble(complete(dict(size=8)), jax.devices()[:1], small())


def test_other_networks_may_be_evaluated_at_another_size_by_devices_that_share_images():
    config = complete(dict(size=8), mesh=dict(model=2))
    config.networks.student.model = dict(name='wide_resnet', depth=10, width=1)
    experiment = experiments.assemble(config, jax.devices(), small())
    chex.assert_shape(experiment.batch['labeled']['image'], (None, 8, 8, 3))


PROCESS = """
import json, sys
import jax
import numpy as np
jax.distributed.initialize('localhost:' + sys.argv[1], 2, int(sys.argv[2]))
from tests import experiment_test
from mpl.data import batches

experiment = experiment_test.prepare(experiment_test.watched(read := []), 4)
batch = batches.make_fetch(experiment.pipeline, 2)(4)
shards = [
    (name, key, [s.start for s in shard.index if s.start is not None], np.asarray(shard.data).tolist())
    for name in ('labeled', 'unlabeled')
    for key in ('index', 'image')
    for shard in batch[name][key].addressable_shards
]
print(json.dumps({'read': [int(n) for n in read], 'shards': shards, 'processes': jax.process_count()}))
"""


def watched(read):
    """`files`, whose reader of parts tells the numbers it is asked for."""
    found = files()
    true = found.train.crop

    def crop(numbers, box, size):
        read.extend(numbers)
        return true(numbers, box, size)

    return found._replace(train=found.train._replace(crop=crop))


def test_each_process_reads_the_rows_of_its_own_devices():
    with socket.socket() as free:
        free.bind(('localhost', 0))
        port = str(free.getsockname()[1])
    environment = os.environ | {
        'XLA_FLAGS': '--xla_force_host_platform_device_count=2',
        'PYTHONPATH': str(ROOT),
    }
    running = [
        subprocess.Popen(
            [sys.executable, '-c', PROCESS, port, str(number)],
            env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(2)
    ]  # fmt: skip
    with futures.ThreadPoolExecutor(2) as threads:  # Neither ends before the other is read.
        outputs = list(threads.map(lambda process: process.communicate(timeout=300), running))
    assert all(process.returncode == 0 for process in running), outputs
    told = [json.loads(out.splitlines()[-1]) for out, _ in outputs]
    whole = batches.make_fetch(prepare(files(), 4).pipeline, 2)(4)
    index = {name: np.asarray(whole[name]['index']) for name in ('labeled', 'unlabeled')}
    for number, one in enumerate(told):
        assert one['processes'] == 2
        mine = [a[:, half(a.shape[1], number)].ravel() for a in index.values()]
        assert one['read'] == np.concatenate(mine).tolist()
        for name, key, (*_, start), data in one['shards']:
            data, rows = np.array(data), slice(start, start + len(data[0]))
            np.testing.assert_array_equal(data, np.asarray(whole[name][key])[:, rows])


def half(count, number):
    return slice(number * count // 2, (number + 1) * count // 2)
