"""Tunes every method on the digits with 40 labels, six settings each, on validation alone.

    python -m benchmarks.tune_digits --workdir=runs/tune_digits

Three seeds of its own (100 to 102), which no reported table uses. The best mean validation
accuracy of the averaged student is kept by hand in configs/digits_40_*.py; the test part is
not looked at here. Resumable. Writes <workdir>/tune.json and tune.md.
"""

import itertools
import json
import re
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from mpl import command, workers
from mpl import config as configs

SEEDS = (100, 101, 102)


def grid(**values: tuple) -> list[list[str]]:
    """Every combination of the values, as overrides of a config."""
    names = [name.replace('__', '.') for name in values]
    return [
        [f'--config.{name}={value}' for name, value in zip(names, chosen)]
        for chosen in itertools.product(*values.values())
    ]


_RATE = 'networks__student__optimizer__learning_rate'
_DECAY = 'networks__student__optimizer__weight_decay'
_SUPERVISED = grid(**{_RATE: (0.02, 0.05, 0.1), _DECAY: (5e-4, 5e-3)})
_FEEDBACK = grid(
    algorithm__feedback_weight=(0.3, 1.0, 3.0), algorithm__label_view=('weak', 'strong')
)
SETTINGS = {
    'supervised': _SUPERVISED,
    'supervised:strong': _SUPERVISED,
    'pseudo_label': grid(algorithm__threshold=(0.8, 0.95), algorithm__weight=(0.1, 0.3, 1.0)),
    'uda': grid(
        algorithm__weight=(1.0, 3.0),
        algorithm__temperature=(0.4, 0.7, 1.0),
    ),
    'mpl:off': grid(
        algorithm__uda_weight=(0.5, 1.0, 3.0), algorithm__label_view=('weak', 'strong')
    ),
    'mpl:exact': _FEEDBACK,
    'mpl:per_example': _FEEDBACK,
    'mpl:dot': grid(
        algorithm__feedback_weight=(1.0, 10.0, 100.0), algorithm__label_view=('weak', 'strong')
    ),
}


def main():
    parser = command.parser(__doc__)
    parser.add_argument('--workdir', default='runs/tune_digits')
    given, overrides = command.parse(parser)
    workdir = Path(given.workdir)
    jobs, results = [], {}
    for method, settings in SETTINGS.items():
        name, _, argument = method.partition(':')
        path = f'configs/digits_40_{name}.py' + (f':{argument}' if argument else '')
        for number, setting in enumerate(settings):
            for seed in SEEDS:
                folder = workdir / method.replace(':', '-') / str(number) / str(seed)
                folder.parent.mkdir(parents=True, exist_ok=True)
                config = configs.load(path, [*setting, *overrides, f'--config.seed={seed}'])
                jobs.append(workers.Job(f'{method} {number}', seed, config.to_dict(), str(folder)))
    for job, report in tqdm(workers.run(jobs, workers.default_count()), total=len(jobs)):
        if isinstance(report, str):
            raise ValueError(f'{job.name}, seed {job.seed}, failed: {report}')
        accuracy = report['networks']['student_ema']['validation']['accuracy']
        results.setdefault(job.name, []).append(100 * accuracy)
    rows = []
    for method, settings in SETTINGS.items():
        means = [np.mean(results[f'{method} {n}']) for n in range(len(settings))]
        for number, setting in enumerate(settings):
            values = results[f'{method} {number}']
            rows.append(
                [
                    method,
                    ', '.join(re.sub(r'^--config\.(\w+\.)*', '', s) for s in setting),
                    f'{np.mean(values):.2f}',
                    f'{np.std(values, ddof=1):.2f}',
                    '*' if number == np.argmax(means) else '',
                ]
            )
    shown = tabulate(rows, ['method', 'setting', 'validation (%)', 'sd', 'best'], 'github')
    (workdir / 'tune.md').write_text(shown + '\n')
    (workdir / 'tune.json').write_text(json.dumps(results, indent=2))
    print(shown)


if __name__ == '__main__':
    command.main(main)
