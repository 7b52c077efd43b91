"""Tunes methods on the digits with 40 labels, six settings each, on validation alone.

    python -m benchmarks.tune_digits --workdir=runs/tune_digits
    python -m benchmarks.tune_digits --workdir=runs/tune_digits --methods fixmatch mpl,feedback=exact

Three seeds of its own (100 to 102), which no reported table uses. The best mean validation
accuracy of the averaged student is kept by hand in configs/digits.py; the test part is
not looked at here. One run at a time on each core; resumable. Writes <workdir>/tune.json and
tune.md, with every method whose runs are all there, so methods can be tuned one by one.
"""

import itertools
import json
import re
import sys
from pathlib import Path

import numpy as np
from tabulate import tabulate
from tqdm import tqdm

from mpl.comparison import workers
from mpl.run import command, loop, report
from mpl.run import config as configs

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
_CONFIDENT = grid(algorithm__threshold=(0.7, 0.85, 0.95), algorithm__weight=(1.0, 3.0))
# Divergence and entropy: as in the released FixMatch code, and as in the paper.
_VAT_WEIGHTS = [
    *grid(algorithm__weight=(0.3,), algorithm__entropy_weight=(0.06,)),
    *grid(algorithm__weight=(1.0,), algorithm__entropy_weight=(1.0,)),
]
SETTINGS = {
    'supervised': _SUPERVISED,
    'supervised,view=strong': _SUPERVISED,
    'pseudo_label': grid(algorithm__threshold=(0.8, 0.95), algorithm__weight=(0.1, 0.3, 1.0)),
    'uda': grid(
        algorithm__weight=(1.0, 3.0),
        algorithm__temperature=(0.4, 0.7, 1.0),
    ),
    'mpl,feedback=off': grid(
        algorithm__uda_weight=(0.5, 1.0, 3.0), algorithm__label_view=('weak', 'strong')
    ),
    'mpl,feedback=exact': _FEEDBACK,
    'mpl,feedback=per_example': _FEEDBACK,
    'mpl,feedback=dot': grid(
        algorithm__feedback_weight=(1.0, 10.0, 100.0), algorithm__label_view=('weak', 'strong')
    ),
    'pi_model': grid(algorithm__weight=(3.0, 10.0, 30.0), algorithm__ramp_steps=(100, 400)),
    'temporal_ensembling': grid(
        algorithm__weight=(3.0, 10.0, 30.0), algorithm__memory_decay=(0.6, 0.9)
    ),
    # From K to K^2, as its paper says.
    'mean_teacher': grid(algorithm__weight=(10.0, 30.0, 100.0), algorithm__ramp_steps=(100, 400)),
    'vat': [
        radius + weights
        for radius in grid(algorithm__radius=(0.5, 1.0, 2.0))
        for weights in _VAT_WEIGHTS
    ],
    'fixmatch': _CONFIDENT,
    'flexmatch': _CONFIDENT,
    'freematch': grid(algorithm__fairness_weight=(0.001, 0.01, 0.05), algorithm__weight=(1.0, 3.0)),
    'softmatch': grid(algorithm__deviations=(1.0, 2.0, 3.0), algorithm__weight=(1.0, 3.0)),
    # One round of it; what wins is taken for all.
    'noisy_student,rounds=1': grid(
        algorithm__labels=('soft', 'hard'),
        networks__student__model__dropout=(0.0, 0.2, 0.5),
    ),
    'distill': grid(algorithm__temperature=(2.0, 4.0, 8.0), algorithm__weight=(0.5, 0.9)),
    'reduced_mpl': grid(
        algorithm__feedback_weight=(0.3, 1.0, 3.0),
        networks__teacher__optimizer__learning_rate=(0.01, 0.05),
    ),
}


def plan(methods: list[str], overrides: list[str], workdir: Path) -> list[workers.Job]:
    """The runs of the methods; raises ValueError where a number is refused."""
    jobs = []
    for method in methods:
        for number, setting in enumerate(SETTINGS[method]):
            for seed in SEEDS:
                config = configs.load(
                    f'configs/digits.py:{method}', [*setting, *overrides, f'--config.seed={seed}']
                )
                folder = str(_folder(workdir, method, number, seed))
                jobs.append(workers.Job(f'{method} {number}', seed, config.to_dict(), folder))
    return jobs


def gather(workdir: Path) -> dict[str, list[list[float]]]:
    """Validation accuracies (%) by method, setting and seed, of methods that are complete."""
    results = {}
    for method, settings in SETTINGS.items():
        paths = [
            [_folder(workdir, method, number, seed) / 'report.json' for seed in SEEDS]
            for number in range(len(settings))
        ]
        if all(path.exists() for of in paths for path in of):
            results[method] = [[_accuracy(path) for path in of] for of in paths]
    return results


def show(results: dict[str, list[list[float]]]) -> str:
    """The results as a table; a star marks the best setting of each method."""
    rows = []
    for method, of in results.items():
        best = np.argmax([np.mean(values) for values in of])
        for number, values in enumerate(of):
            setting = SETTINGS[method][number]
            rows.append(
                [
                    method,
                    ', '.join(re.sub(r'^--config\.(\w+\.)*', '', s) for s in setting),
                    f'{np.mean(values):.2f}',
                    f'{np.std(values, ddof=1):.2f}',
                    '*' if number == best else '',
                ]
            )
    return tabulate(
        rows,
        ['method', 'setting', 'validation (%)', 'sd', 'best'],
        'github',
        colalign=('left', 'left', 'right', 'right', 'left'),
        disable_numparse=True,
    )


def _folder(workdir, method, number, seed):
    return workdir / method / str(number) / str(seed)


def _accuracy(path):
    return 100 * report.read(path.parent)['networks']['student_ema']['validation']['accuracy']


def main():
    parser = command.parser(__doc__)
    parser.add_argument('--workdir', default='runs/tune_digits')
    parser.add_argument('--methods', nargs='+', choices=SETTINGS, default=list(SETTINGS))
    given, overrides = command.parse(parser)
    workdir = Path(given.workdir)
    jobs = plan(given.methods, overrides, workdir)
    for job in jobs:
        Path(job.folder).parent.mkdir(parents=True, exist_ok=True)
    try:
        for job, report in tqdm(workers.run(jobs, workers.default_count()), total=len(jobs)):
            if isinstance(report, str):
                raise ValueError(f'{job.name}, seed {job.seed}, failed: {report}')
    except loop.Stopped as stopped:
        print(f'{stopped} The same command resumes from there.', file=sys.stderr)
        sys.exit(128 + stopped.signal)
    results = gather(workdir)
    (workdir / 'tune.md').write_text(show(results) + '\n', encoding='utf-8')
    (workdir / 'tune.json').write_text(json.dumps(results, indent=2), encoding='utf-8')
    print(show(results))


if __name__ == '__main__':
    command.main(main)
