"""The benchmark of steps measures what it says, on the smoke config."""

import time
from types import SimpleNamespace as named

import jax
import numpy as np
import pytest

from benchmarks import flops, networks, step_time
from mpl.data import batches
from mpl.run import config as configs
from mpl.run import experiment as experiments

FAR = [f'--config.{name}={step_time.STEPS}' for name in ('steps', 'every.evaluate', 'every.save')]
KNOWN = {'steps_per_second', 'images_per_second', 'loop_ms', 'compiled_ms', 'share_outside'} | {
    'share_outside_by_round', 'share_outside_processor', 'processor_ms', 'batch', 'flops',
    'steps_per_call', 'trace_seconds', 'compile_seconds', 'program_bytes', 'resident_bytes',
    'flops_by_layers', 'load',
}  # fmt: skip


def measure(seconds, *overrides):
    return step_time.measure(configs.load('configs/smoke.py', [*FAR, *overrides]), seconds)


def test_row_is_complete_and_plausible():
    row = measure(1.0)
    assert set(row) == KNOWN
    for name in ('steps_per_second', 'trace_seconds', 'compile_seconds', 'program_bytes', 'flops'):
        assert row[name] > 0, name
    assert row['resident_bytes'] > row['program_bytes']
    for name in ('loop_ms', 'compiled_ms'):
        assert 0 < row[name]['low'] <= row[name]['median'] <= row[name]['high'] < np.inf
        assert row[name]['windows'] >= step_time.LEAST
    assert max(row['share_outside'], row['share_outside_processor']) < 1
    assert row['images_per_second'] == pytest.approx(row['steps_per_second'] * (16 + 32))
    assert row['loop_ms']['median'] == pytest.approx(1000 / row['steps_per_second'])
    table = step_time.show([{'task': 'smoke', 'method': 'mpl exact'} | row])
    assert f'{row["steps_per_second"]:.4g}' in table


def test_flops_that_the_compiler_does_not_tell_are_unknown():
    """cost_analysis() may be None, and may lack the count."""
    for counted in (None, {}, {'bytes accessed': 1.0}):
        assert step_time.count_flops(named(cost_analysis=lambda counted=counted: counted)) is None
    assert step_time.count_flops(named(cost_analysis=lambda: {'flops': 2.0})) == 2.0
    row = measure(0.1) | {'task': 'smoke', 'method': 'mpl exact', 'flops': None}
    assert ' unknown' in step_time.show([row])


def test_what_a_run_waits_for_is_outside(monkeypatch):
    """Two threads fetch, for 5 steps each, in 300 ms: 30 ms per step, the step itself takes less."""
    make_fetch = batches.make_fetch

    def make_slow(pipeline, size):
        fetch = make_fetch(pipeline, size)
        return lambda step: time.sleep(0.3) or fetch(step)

    monkeypatch.setattr(batches, 'make_fetch', make_slow)
    row = measure(0.1, '--config.every.log=10')
    assert row['loop_ms']['median'] >= 25
    assert row['share_outside'] > 0.3


def test_refuses_windows_that_are_not_whole_calls():
    with pytest.raises(ValueError, match='multiple of steps_per_call, 4'):
        measure(0.1, '--config.steps_per_call=4')


def test_counts_flops_of_layers():
    """A convolution over all pixels, one of stride 2, and a linear layer, counted by hand."""
    experiment = experiments.assemble(step_time.digits('mpl exact'), jax.devices()[:1])
    # 8 pixels with 3 taps each less 2 beyond the borders: 22; stride 2: 11; 4 pixels: 10.
    convolutions = 22**2 * 1 * 16 + 11**2 * 16 * 32 + 10**2 * 32 * 32
    forward = 2 * (convolutions + 4 * 4 * 32 * 10)
    assert flops.count_exact(experiment) == forward * (3 * (16 + 64 + 64) + 5 * 64 + 3 * 16)


def test_the_speed_of_a_network():
    row = networks.measure('cnn', images=4, seconds=0.0)
    assert row['forward'] == 3_171_584 and 2.9 < row['step'] / (4 * row['forward']) <= 3
    assert row['parameters'] == 24_346 and 0 < row['seconds'] < 60
    assert '| cnn' in networks.show({'cnn': row}) and '24,346' in networks.show({'cnn': row})
