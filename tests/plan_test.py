"""A plan says what the compiled step says, refuses what does not exist, and finds what fits."""

import functools
import importlib.util
import json
import sys
from types import SimpleNamespace as named

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache import compilation_cache
from jax.sharding import PartitionSpec

from mpl import plan
from mpl.data import batches, cropping
from mpl.parallel import sharding
from mpl.planning import alternatives, chips, footprint, gpus, hlo, traffic
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import flops, loop

WIDTHS = (16, 512, 10)  # of the network, whose pictures are 4x4


def config(**more):
    """Labels alone, a perceptron."""
    net = dict(
        model=dict(name='mlp', widths=WIDTHS[1:-1]), optimizer=dict(name='sgd', learning_rate=0.1)
    )
    return configs.complete(
        dict(
            steps=100,
            source=dict(name='synthetic', classes=WIDTHS[-1], size=4, channels=1, examples=64),
            batch=dict(labeled=32),
            views=dict(name='images', mean=128.0, std=64.0),
            networks=dict(student=net),
            algorithm=dict(name='supervised', ema_decay=0.9),
        )
        | more
    )


@functools.cache
def planned(groups=0, weights='whole'):
    return footprint.make(config(mesh={'weights': weights}), groups=groups)


@functools.cache
def compiled():
    experiment = experiments.assemble(config())
    return loop.make_steps(experiment).lower(*footprint.arguments(experiment)).compile()


@pytest.mark.parametrize('views', ['images', 'crops'])
def test_arguments_are_those_of_the_real_call(views):
    """Also where pictures stay on the devices, and parts are cut out of them there."""
    given = config()
    if views == 'crops':
        crops = dict(name='crops', mean=128.0, std=64.0, size=4, crop_from='square')
        given = config(views=crops, resident_bytes=0)
    experiment = experiments.assemble(given)
    resident = batches.resident(experiment.pipeline)
    real = (resident, batches.make_fetch(experiment.pipeline, 1)(0), jax.random.key(0))

    def form(array, place):
        return array.shape, array.dtype, place and array.sharding

    state, *asked = footprint.arguments(experiment)
    asked_key, real_key = asked.pop(), real[-1]
    assert state is experiment.state
    assert jax.tree.map(lambda a: form(a, True), tuple(asked)) == jax.tree.map(
        lambda a: form(a, True), real[:-1]
    )
    assert form(asked_key, False) == form(real_key, False)


def test_memory_and_bytes_are_those_of_the_compiled_step():
    got, program = planned(), compiled()
    sizes = program.memory_analysis()
    given = jax.tree.leaves(footprint.arguments(experiments.assemble(config())))
    counted = sum(footprint.shard_bytes(leaf, leaf.sharding) for leaf in given)
    assert abs(counted - sizes.argument_size_in_bytes) < 64
    assert got['memory']['arguments'] == sizes.argument_size_in_bytes > got['memory']['state']
    assert got['memory']['temporaries'] == sizes.temp_size_in_bytes > 0
    assert got['memory']['peak'] == sizes.peak_memory_in_bytes > got['memory']['arguments']
    assert got['bytes']['compiler'] == program.cost_analysis()['bytes accessed']
    assert got['bytes']['moved'] == traffic.count(hlo.parse(program.as_text())) > 0
    assert got['flops']['compiler'] == program.cost_analysis()['flops']


def test_flops_are_those_counted_by_hand():
    """Forward, and the gradient of every weight; of inputs, behind the first layer alone."""
    inputs, hidden, outputs = WIDTHS
    each = 2 * (2 * inputs * hidden + 3 * hidden * outputs)
    assert planned()['flops']['layers'] == 32 / 8 * each


def test_gradients_are_summed_over_the_devices():
    inputs, hidden, outputs = WIDTHS
    parameters = (inputs + 1) * hidden + (hidden + 1) * outputs
    assert planned()['parameters'] == {'student': parameters}
    sent = planned()['collectives']
    assert set(sent) == {'all-reduce'}
    assert 0 <= sent['all-reduce']['bytes'] - 4 * parameters < 100  # The rest are metrics.


@pytest.mark.parametrize('groups', [1, 2])
def test_a_few_groups_stand_for_all(groups):
    few, all_of_them = planned(groups), planned()
    assert (few['groups_compiled'], all_of_them['groups_compiled']) == (groups, 8)
    for key in ('batch', 'devices', 'parameters'):
        assert few[key] == all_of_them[key]
    assert few['flops']['layers'] == all_of_them['flops']['layers']
    assert few['memory']['arguments'] == all_of_them['memory']['arguments']
    sent = [each['collectives']['all-reduce']['bytes'] for each in (few, all_of_them)]
    assert abs(sent[0] - sent[1]) < 100
    assert (f'{groups} of 8 groups' in plan.show(few)) and '8 groups,' not in plan.show(all_of_them)


def test_layers_in_loops_branches_and_on_parts_count_as_they_run():
    mesh = sharding.make_mesh(jax.devices(), 2)
    image, kernel = jnp.zeros((4, 8, 8, 3)), jnp.zeros((3, 3, 3, 5))

    def convolve(image):
        return jax.lax.conv_general_dilated(
            image, kernel, (2, 2), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    def matmul(x):
        return x @ x

    one, square = 2 * 4 * 4 * 4 * 5 * 27, jnp.zeros((4, 4))
    cases = {
        'convolution': (convolve, image, one),
        'its gradient': (jax.grad(lambda x: convolve(x).sum()), image, 2 * one),
        'loop': (lambda x: jax.lax.fori_loop(0, 5, lambda _, x: x @ x, x), square, 5 * 128),
        'branch': (lambda x: jax.lax.cond(x[0, 0] > 0, matmul, lambda x: x, x), square, 128),
        # Forward 2, one of them again, backward 4.
        'again': (jax.grad(jax.checkpoint(lambda x: (x @ x @ x).sum())), square, 7 * 128),
        'parts': (
            jax.shard_map(
                convolve, mesh=mesh, in_specs=PartitionSpec('data'), out_specs=PartitionSpec('data')
            ),
            image,
            2 * one,  # Both devices of a group do all of it.
        ),
    }
    for name, (function, x, want) in cases.items():
        assert flops.count(jax.make_jaxpr(function)(x)) == want, name


@pytest.mark.parametrize(
    'topology, said',
    {
        'v9:2x2': 'generation of TPUs .v2, v3, v4, v5e, v5p, v6e.',
        'v3': 'is unknown; give a generation',
        'v5e:4': 'give 2 sides',
        'v3:4by4': 'is unknown',
        'v4:4x4': 'give 3 sides, even number x even number x any',
        'v5e:4x4x4': 'give 2 sides',
        'v3:3x4': 'no slice of v3',
        'v5e:32x32': 'at most 256 chips',
        'v5e:0x4': 'no slice',
    }.items(),
)
def test_slices_that_do_not_exist_are_refused(topology, said):
    with pytest.raises(ValueError, match=f'topology {topology!r} .*{said}.*such as v3:32x32'):
        chips.parse(topology)


@pytest.mark.parametrize('topology', ['h100:0', 'h100:16', 'h100:0x8', 'a100:2x2x2', 'h200:513x8'])
def test_gpus_that_do_not_exist_are_refused(topology):
    said = f'topology {topology!r} .*give 1 to 8 GPUs of a host.*at most 4,096 .*such as h100:8.*h100:2x8'
    with pytest.raises(ValueError, match=said):
        chips.parse(topology)


def test_gpus_that_are_not_known_are_refused():
    said = 'is unknown; .*a GPU .a100, h100, h200, b200. and its number, such as h100:8.*or local'
    for topology in ('h300:8', 'h100', 'h100:x8', 'H100:8'):
        with pytest.raises(ValueError, match=f'topology {topology!r} {said}'):
            chips.parse(topology)


def test_links_between_hosts_are_those_of_their_network():
    """One adapter of 50 GB/s for each H100: 8 of them nearly keep up with its links, one does not."""

    def rate(hosts, count, kind='NVIDIA H100 80GB HBM3'):
        devices = [named(device_kind=kind, process_index=host) for host in range(hosts)] * count
        return chips.find_all(devices)

    assert rate(1, 8) == chips.CHIPS['h100'] and rate(1, 8).links == 450e9
    assert rate(2, 8).links == 8 * 50e9 and rate(2, 1).links == 50e9
    assert rate(4, 8, 'TPU v5e') == chips.CHIPS['v5e'] and rate(2, 8, 'cpu') is None


def test_sides_of_slices():
    assert chips.parse('v3:32x32') == ('v3', (32, 32))
    assert chips.parse('v5p:8x8x16') == ('v5p', (8, 8, 16))
    assert chips.parse('v5e:1x1') == ('v5e', (1, 1))
    assert chips.parse('v4:2x2x1') == ('v4', (2, 2, 1))
    assert chips.parse('h100:8') == ('h100', (8,))
    assert chips.parse('b200:2x8') == ('b200', (2, 8))


def test_more_groups_than_there_are_are_refused():
    with pytest.raises(ValueError, match='groups is 9; give at most the 8 groups of 1 devices'):
        footprint.make(config(), groups=9)


def test_a_program_too_big_is_read_from_what_the_compiler_says():
    said = (
        'RESOURCE_EXHAUSTED: E1000: CompileTimeHbmOom: Ran out of memory on HBM, the total memory '
        'required for HLO temporaries (71.56G) exceeds available HBM (15.75G). HLO module: jit_f.'
    )
    gib = 2**30
    want = {'temporaries': round(71.56 * gib), 'limit': round(15.75 * gib)}
    assert footprint.read_overflow(said) == want
    with pytest.raises(ValueError, match='cannot compile the step: Unimplemented'):
        footprint.read_overflow('Unimplemented')


def test_what_makes_it_fit_is_estimated_then_compiled():
    """On devices that lack 20 KiB of the 150 KiB that the step takes: weights in parts save more."""
    memory = planned()['memory']
    tight = planned() | {'memory': memory | {'limit': memory['peak'] - 20_000}, 'fits': False}
    more = dict(groups=0, examples=64)
    estimated = alternatives.find(config(), 'local', tight, False, **more)
    changes = [entry['changes'] for entry in estimated]
    assert changes[0] == {'mesh.weights': 'data'}
    assert {'mesh.model': 2, 'mesh.weights': 'model'} in changes
    assert not any(entry['compiled'] for entry in estimated)
    parts = next(e for e in estimated if e['changes'] == {'mesh.weights': 'data'})
    saved = memory['state'] - planned(weights='data')['memory']['state']
    assert memory['peak'] - parts['peak'] == saved > memory['state'] / 2
    searched = alternatives.find(config(), 'local', tight, True, **more)
    assert searched[0]['compiled'] and searched[0]['changes'] == changes[0]
    assert searched[0]['peak'] == planned(weights='data')['memory']['peak']
    text = plan.show(tight | {'alternatives': estimated})
    assert '--config.mesh.weights=data' in text and '(estimated)' in text


def test_a_search_goes_on_after_what_is_refused(monkeypatch):
    memory, make = planned()['memory'], footprint.make
    tight = planned() | {'memory': memory | {'limit': memory['peak'] - 20_000}, 'fits': False}

    def refuse_parts(config, *rest):
        if config.mesh.weights == 'data':
            raise ValueError('Not this one.')
        return make(config, *rest)

    monkeypatch.setattr(footprint, 'make', refuse_parts)
    found = alternatives.find(config(), 'local', tight, True, groups=0, examples=64)
    assert (found[0]['refused'], found[0]['compiled']) == ('Not this one.', False)
    assert found[1]['compiled'] and not found[1]['refused']
    line, *_ = plan.show(tight | {'alternatives': found}).splitlines()[-len(found) :]
    assert line == '  --config.mesh.weights=data: refused: Not this one.'


def test_a_smaller_batch_is_offered_where_the_state_fits():
    memory = planned()['memory']
    some = memory['state'] + 0.4 * (memory['peak'] - memory['state'])
    tight = planned() | {'memory': memory | {'limit': some}}
    found = alternatives.find(config(), 'local', tight, False, groups=0, examples=64)
    assert found[-1]['changes'] == {'batch.labeled': 8, 'batch.unlabeled': 0}  # 8 devices
    quarter = memory['state'] + (memory['peak'] - memory['state']) / 4
    assert found[-1]['peak'] == round(quarter) <= some


def test_what_the_compiler_does_not_count_is_unknown(monkeypatch):
    """cost_analysis() is None for GPUs that are not there."""
    monkeypatch.setattr(jax.stages.Compiled, 'cost_analysis', lambda self: None)
    got = footprint.make(config())
    assert got['flops'] == planned()['flops'] | {'compiler': None}
    assert got['bytes'] == planned()['bytes'] | {'compiler': None}
    assert got['memory'] == planned()['memory'] and got['fits'] is None
    shown = [line for line in plan.show(got).splitlines() if line.startswith("GFLOP, compiler's")]
    assert shown[0].split()[-1] == 'unknown'


def test_a_plan_for_gpus_says_what_it_leaves_out():
    got = planned() | {'platform': 'gpu', 'topology': 'h100:8'}
    assert gpus.LEFT_OUT in plan.show(got)
    assert gpus.LEFT_OUT not in plan.show(got | {'topology': 'local'})
    assert gpus.LEFT_OUT not in plan.show(planned())


def test_times_are_those_of_the_slowest_unit_and_the_links():
    program = {
        'flops': {'layers': 197e12, 'compiler': 100e12},
        'bytes': {'compiler': 1, 'moved': 819e9 / 2},
        'collectives': {
            'all-reduce': {'number': 1, 'bytes': 200e9},
            'all-gather': {'number': 1, 'bytes': 100e9},
        },
    }
    got = footprint.estimate(program, chips.CHIPS['v5e'])
    assert got == {'compute': 1.0, 'memory': 0.5, 'links': 2.5, 'step': 3.5}
    assert footprint.estimate(program, None) is None
    refused = program | {'bytes': {'compiler': None, 'moved': None}}
    got = footprint.estimate(refused, chips.CHIPS['v5e'])
    assert got == {'compute': 1.0, 'memory': None, 'links': None, 'step': None}


def test_the_command_writes_what_it_shows(tmp_path, monkeypatch, capsys):
    path = tmp_path / 'plan.json'
    words = ['plan', '--config=configs/smoke.py', f'--json={path}', '--config.steps=40']
    monkeypatch.setattr(sys, 'argv', words)
    monkeypatch.setattr(jax.config, 'update', lambda *_: None)  # The cache stays for other tests.
    monkeypatch.setattr(footprint, 'make', lambda *_, **more: planned() | more)
    plan.main()
    got = json.loads(path.read_text())
    assert got == json.loads(json.dumps(planned())) | {
        'config': 'configs/smoke.py', 'overrides': ['--config.steps=40'], 'groups': 0, 'examples': 50_000,
    }  # fmt: skip
    shown = capsys.readouterr().out
    assert '8 x cpu' in shown and f'{planned()["memory"]["peak"] / 2**30:,.3f}' in shown


def test_pictures_that_are_not_at_hand_are_black():
    """Whole ones, and parts as those of the real source are cut out."""
    given = config(
        source=dict(name='folder', path='/nowhere', size=4),
        views=dict(name='crops', mean=0.0, std=1.0, size=4),
        split=dict(validation=1000),
    )
    experiment = footprint.assemble(given, jax.devices(), 60_000)
    assert cropping.on_host(
        experiment.source, experiment.views, 'labeled'
    ) and not batches.is_resident(experiment.pipeline)
    assert len(experiment.split.labeled) == 59_000 and len(experiment.split.unlabeled) == 119_000
    _, resident, batch, _ = footprint.arguments(experiment)
    image = batch['labeled']['image']
    chex.assert_shape(image, (1, 32, 4, 4, 3))
    chex.assert_type(image, 'uint8')
    assert resident is None
    assert set(batch['labeled']) == {'image', 'index', 'label'}


@pytest.mark.skipif(
    importlib.util.find_spec('libtpu') is None,
    reason='launch/requirements-plan.txt: libtpu is absent',
)
def test_a_slice_is_compiled_for():
    got = footprint.make(config(), 'v5e:2x2')
    assert (got['device'], got['devices'], got['fits']) == ('TPU v5 lite', 4, True)
    assert got['memory']['peak'] > got['memory']['arguments'] > got['memory']['state']
    assert got['collectives']['all-reduce']['bytes'] > 4 * got['parameters']['student']
    assert got['seconds']['run'] == 100 * got['seconds']['step'] > 0
    # Groups that fill an axis of the slice in part.
    mesh = sharding.make_mesh(chips.devices('v4:8x8x8'), 16)
    assert mesh.shape == {'data': 32, 'model': 16}


CUDA = importlib.util.find_spec('jax_cuda13_plugin') is not None


@pytest.fixture
def fresh():
    """Without the cache of compiled programs, which holds none for devices that are not there."""
    for enabled in (False, True):
        jax.config.update('jax_enable_compilation_cache', enabled)
        compilation_cache.reset_cache()  # JAX asks for the setting once only.
        if not enabled:
            yield


@pytest.mark.skipif(not CUDA, reason='launch/requirements-gpu-plan.txt: the CUDA plugin is absent')
def test_a_step_is_compiled_for_gpus(fresh):
    """Two hosts; weights in parts, so that logits [32, 10] are reduced and scattered."""
    got = footprint.make(config(mesh={'weights': 'data'}), 'h100:2x4')
    assert (got['device'], got['devices']) == ('NVIDIA H100 80GB HBM3', 8)
    assert (got['platform'], got['fits']) == ('gpu', True)
    memory = got['memory']
    assert memory['limit'] == 0.75 * gpus.GPUS['h100'].memory
    assert memory['peak'] > memory['state'] and memory['arguments'] > memory['state']
    assert got['flops'] == {'layers': planned()['flops']['layers'], 'compiler': None}
    assert got['collectives']['reduce-scatter'] == {'number': 1, 'bytes': 4 * 32 * 10}
    assert got['seconds']['run'] == 100 * got['seconds']['step'] > 0
    assert got['versions']['jax-cuda13-plugin'] == got['versions']['jax']
    assert gpus.LEFT_OUT in plan.show(got)


@pytest.mark.skipif(CUDA, reason='the CUDA plugin is there')
def test_without_the_cuda_plugin_one_sentence_says_what_to_install():
    with pytest.raises(ValueError, match='pip install -r launch/requirements-gpu-plan.txt') as said:
        chips.devices('h100:8')
    assert str(said.value).startswith('Programs for h100 cannot be compiled here (')
    assert '\n' not in str(said.value)


@pytest.mark.skipif(importlib.util.find_spec('libtpu') is not None, reason='libtpu is there')
def test_without_its_compiler_one_sentence_says_what_to_install():
    with pytest.raises(ValueError, match='pip install -r launch/requirements-plan.txt'):
        chips.devices('v5e:2x2')
