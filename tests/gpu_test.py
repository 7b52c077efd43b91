"""The benchmark of the released recipe's step, at the size of a test."""

from types import SimpleNamespace as named

import jax

from benchmarks import gpu, step_time
from mpl.planning import chips, gpus


def test_known_devices_have_a_peak_and_others_none():
    assert gpu.find_peak(named(device_kind='NVIDIA A100-SXM4-80GB'), 'bfloat16') == 312e12
    assert gpu.find_peak(named(device_kind='NVIDIA A100-SXM4-80GB'), None) == 156e12
    assert gpu.find_peak(named(device_kind='NVIDIA H100 80GB HBM3'), 'bfloat16') == 989.4e12
    assert gpu.find_peak(named(device_kind='NVIDIA H100 PCIe'), 'bfloat16') == 756e12
    assert gpu.find_peak(named(device_kind='TPU v5 lite'), 'bfloat16') == 197e12
    assert gpu.find_peak(named(device_kind='TPU v5'), 'bfloat16') == 459e12
    assert gpu.find_peak(named(device_kind='TPU v6e'), None) == 918e12
    for unknown in ('cpu', 'NVIDIA GB200'):
        assert gpu.find_peak(named(device_kind=unknown), None) is None


def test_peaks_are_those_of_the_plans():
    for of_plan in gpus.GPUS.values():
        device = named(device_kind=of_plan.kind)
        assert gpu.find_peak(device, 'bfloat16') == chips.find(device).flops
        assert gpu.find_peak(device, None) == chips.find(device).flops / 2


def test_each_row_differs_in_one_thing():
    base = gpu.made_up('/nowhere', 128, 28, 2)
    rows = gpu.vary(base, ['none', 'randaugment'], ['bfloat16', 'float32'], [1, 10])
    assert list(rows) == ['as given', 'policy none', 'float32', '1 in a call']
    assert (base['batch']['labeled'], base['batch']['unlabeled']) == (128, 896)
    given, none, wide, single = rows.values()
    assert [n['model']['dtype'] for n in given['networks'].values()] == ['bfloat16'] * 2
    assert [n['model']['dtype'] for n in wide['networks'].values()] == [None] * 2
    assert given['views']['strong']['name'] == 'randaugment' and none['views']['strong'] is None
    assert single == base | {'steps_per_call': 1}
    for name, changed in (('views', none), ('networks', wide)):
        assert base | {name: changed[name]} == changed


def test_log_lines_come_after_whole_calls():
    config = gpu.endless(gpu.made_up('/nowhere', 128, 28, 2) | {'steps_per_call': 7}, 50)
    assert config.every.log == 49 and config.steps % 49 == 0 and config.steps > 9e5
    assert config.every.save == config.every.evaluate == step_time.STEPS


def test_row_has_the_share_of_all_devices(monkeypatch):
    """As if measured on eight chips of a known kind."""
    ms = {'median': 4.0, 'low': 3.0, 'high': 5.0}
    measured = {
        'batch': {'labeled': 128, 'unlabeled': 896},
        'steps_per_call': 10,
        'compiled_ms': ms,
        'loop_ms': ms,
        'share_outside': 0.2,
        'images_per_second': 1234.0,
        'flops_by_layers': 4e9,
        'resident_bytes': 77 * 2**20,
        'program_bytes': 2**20,
        'compile_seconds': 1.0,
    }
    monkeypatch.setattr(step_time, 'measure', lambda config, seconds: measured)
    monkeypatch.setattr(jax, 'device_count', lambda: 8)
    monkeypatch.setattr(gpu, 'find_peak', lambda device, dtype: {'bfloat16': 1e12}[dtype])
    row = gpu.work(gpu.made_up('/nowhere', 128, 28, 2), 1.0, 50)
    assert row['flops_per_second'] == 1e12 and row['share_of_peak'] == 1 / 8
    assert row['devices'] == '8 x cpu' and row['device_peak_bytes'] is None
    text = gpu.show([{'what': 'as given'} | row])
    for part in ('128+896', '4 (3..5)', '1.250', '1,234', '12.5', '77'):
        assert f' {part} ' in text, part
    row = {'what': 'as given'} | row | {'share_of_peak': None, 'device_peak_bytes': 2**30}
    assert ' unknown ' in gpu.show([row]) and ' 1,024 ' in gpu.show([row])
