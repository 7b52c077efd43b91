"""The tuning of the digits: equal budgets, of settings that differ and are allowed."""

import json
import sys

import pytest

from benchmarks import tune_digits
from mpl.run import config as configs
from mpl.run import records

METHODS = list(tune_digits.SETTINGS)


@pytest.mark.parametrize('method', METHODS)
def test_every_method_has_six_settings_of_three_seeds(method, tmp_path):
    jobs = tune_digits.plan([method], ['--config.steps=10'], tmp_path)
    assert len(jobs) == len({job.folder for job in jobs}) == 18
    texts = {json.dumps(job.config, sort_keys=True) for job in jobs}
    assert len(texts) == 18 and all(job.config['steps'] == 10 for job in jobs)
    for job in jobs:
        assert job.seed == job.config['seed'] and job.seed in (100, 101, 102)
        assert job.config['algorithm']['name'] == method.partition(',')[0]
        configs.complete(job.config)


def test_methods_are_tuned_one_by_one(tmp_path):
    """The best setting has its star, and a method that is not complete is left out."""
    for number, job in enumerate(
        tune_digits.plan(['fixmatch'], [], tmp_path) + tune_digits.plan(['vat'], [], tmp_path)[:-1]
    ):
        folder = tmp_path / job.folder
        folder.mkdir(parents=True)
        found = {'networks': {'student_ema': {'validation': {'accuracy': number / 100}}}}
        records.write(folder / 'report.json', found)
    results = tune_digits.gather(tmp_path)
    assert list(results) == ['fixmatch']
    assert results['fixmatch'][1] == [3, 4, 5]
    lines = tune_digits.show(results).splitlines()[2:]
    assert [('*' in line) for line in lines] == [False] * 5 + [True]
    assert 'threshold=0.95, weight=3.0' in lines[-1] and '16.00 | 1.00 |' in lines[-1]


def test_an_unknown_method_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, 'argv', ['tune_digits', '--methods', 'vat', 'fishmatch'])
    with pytest.raises(SystemExit) as ended:
        tune_digits.main()
    assert ended.value.code == 2 and "choice: 'fishmatch'" in capsys.readouterr().err
