"""Probes of all runs of a comparison: what the table holds, and refusals before any run."""

import csv
import sys

import numpy as np
import pytest
from etils import epath

from mpl import compare, report
from mpl.comparison import probes
from mpl.run import probe_settings, probing

SMOKE = 'configs/smoke.py'


def command(monkeypatch, tmp_path, *arguments):
    """The exit code of a comparison of two seeds of the smoke config."""
    monkeypatch.setenv('XLA_FLAGS', '')
    monkeypatch.setenv('JAX_DISABLE_MOST_OPTIMIZATIONS', '1')
    given = ['--configs', SMOKE, '--seeds=2', '--jobs=1', f'--workdir={tmp_path}', *arguments]
    monkeypatch.setattr(sys, 'argv', ['compare', *given])
    with pytest.raises(SystemExit) as ended:
        compare.main()
    return ended.value.code


def test_a_comparison_has_the_probes_of_every_run(tmp_path, monkeypatch, capfd):
    assert command(monkeypatch, tmp_path, '--probes', 'split', '100') == 0
    lines = list(csv.DictReader((tmp_path / 'probes.csv').read_text().splitlines()))
    settings = probe_settings.Settings(network='finetuned', labels=('split', '100'))
    for seed in '01':
        alone = probing.run(epath.Path(tmp_path / 'smoke' / seed), settings)
        expected = {
            (row['labels'], row['features'], row['probe']): row['accuracy']['test']
            for row in alone['rows']
        }
        found = {
            (line['labels'], line['features'], line['probe']): float(line['accuracy'])
            for line in lines
            if line['seed'] == seed
        }
        assert found == expected and len(found) == 2 * 3 * 2
    printed, table = capfd.readouterr().out, (tmp_path / 'probes.md').read_text()
    for shown in (printed, table):
        assert shown.index('raw pixels') < shown.rindex('finetuned')
    monkeypatch.setattr(sys, 'argv', ['report', f'--workdir={tmp_path}'])
    report.main()
    assert 'Probes of fixed features' in (tmp_path / 'report.html').read_text()
    rows = probes.gather({'smoke': {0: alone}})
    assert [row.features for row in rows[:3]] == ['untrained network', 'raw pixels', 'finetuned']


def result(count=20, **accuracies):
    """What `measure` returns, with one probe of features of 4 dimensions."""
    rows = [
        probing.Row(
            'split',
            count,
            name.replace('_', ' '),
            4,
            'linear',
            {},
            {'validation': 0.0, 'test': value},
        )._asdict()
        for name, value in accuracies.items()
    ]
    return {'examples': {'validation': 5, 'test': 5}, 'rows': rows}


def test_means_are_over_seeds_and_floors_those_of_the_first_config():
    first = {s: result(student=0.5 + s / 10, raw_pixels=0.3) for s in (0, 1)}
    second = {0: result(student_ema=0.9, raw_pixels=0.9)}
    pixels, one, two = probes.gather({'a': first, 'b': second})
    other = {0: result(40, raw_pixels=0.8)}
    assert [row.count for row in probes.gather({'a': first, 'c': other})] == [20, 40, 20]
    assert (pixels.features, pixels.seeds, one.config, two.config) == (
        'raw pixels',
        [0, 1],
        'a',
        'b',
    )
    np.testing.assert_array_equal(pixels.accuracy['linear'], [0.3, 0.3])
    np.testing.assert_array_equal(one.accuracy['linear'], [0.5, 0.6])
    shown = probes.show([pixels, one, two], 'github')
    assert '55.00 ± 7.07' in shown and '90.00 ± -' in shown and 'split (20)' in shown


@pytest.mark.parametrize(
    'given, sentence',
    [
        ('--probes many', "smoke: --labels is 'many'; give 'split'"),
        ('--probes 10', 'smoke: --probes 10 gives 10 labels, fewer than the 20 nearest neighbors'),
        ('--probes split --config.split.validation=0', 'smoke: --probes choose on validation'),
    ],
)
def test_refusals_come_before_any_run(tmp_path, monkeypatch, given, sentence):
    arguments = ['compare', '--configs', SMOKE, f'--workdir={tmp_path}/x', *given.split()]
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(ValueError, match=sentence):
        compare.main()
    assert not (tmp_path / 'x').exists()


def test_a_table_is_read_as_it_was_written(tmp_path):
    rows = probes.gather({'a': {s: result(student=0.5 + s / 10, raw_pixels=0.3) for s in (0, 1)}})
    assert probes.read(tmp_path) == []
    probes.write(rows, tmp_path)
    assert probes.cells(probes.read(tmp_path)) == probes.cells(rows)


def test_tables_of_other_configs_are_removed(tmp_path, capsys):
    probes.write(probes.gather({'a': {0: result(raw_pixels=0.5)}}), tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == set(probes.FILES)
    probes.remove(tmp_path)
    probes.show_and_write({'a': {}}, tmp_path)
    assert not list(tmp_path.iterdir()) and not capsys.readouterr().out
