"""The search of the two-moons experiment: the same number of settings for every method.

Tried in every setting: weights from U(-1, 1), strong views of noise 0.2, consistency on every
point however unsure the network is of it. Trials of consistency on seeds from 10,000 on
chose these: U(-0.3, 0.3), noise of 0.1 or 0.3, sigmoids, a threshold of 0.8 all failed more often.
"""

import json
from pathlib import Path

import numpy as np
from scipy.stats import qmc

from benchmarks import two_moons_fit
from configs import two_moons
from mpl.run import config as configs

SEEDS = range(10_000, 10_012)  # far from those of the report
STEPS = 6_000
ACTIVATIONS = ('tanh', 'relu')
DRAWS = 8  # of numbers, for each activation
# Ranges of the numbers drawn, even in the logarithm; every method gets the same draws of those
# that it has. `rate` is that of the network that sees the true labels, in MPL the teacher.
RANGES = {
    'rate': (0.05, 0.5),
    'weight': (1.0, 10.0),
    'temperature': (0.25, 1.0),
    'threshold': (0.55, 0.95),  # of pseudo-labels alone
    'student_rate': (0.05, 1.0),
    'feedback_weight': (0.1, 10.0),
}
RATE = 'networks.{}.optimizer.learning_rate'
PATHS = {
    'supervised': {'rate': RATE.format('student')},
    'pseudo_label': {
        'rate': RATE.format('student'),
        'weight': 'algorithm.weight',
        'threshold': 'algorithm.threshold',
    },
    'uda': {
        'rate': RATE.format('student'),
        'weight': 'algorithm.weight',
        'temperature': 'algorithm.temperature',
    },
    'mpl': {
        'rate': RATE.format('teacher'),
        'student_rate': RATE.format('student'),
        'weight': 'algorithm.uda_weight',
        'temperature': 'algorithm.uda_temperature',
        'feedback_weight': 'algorithm.feedback_weight',
    },
}
ALWAYS = {
    'supervised': {},
    'pseudo_label': {},
    'uda': {'threshold': 0.0},
    'mpl': {'uda_threshold': 0.0},
}


def search(methods: dict[str, dict], path: Path) -> None:
    """Tries the settings of every method, prints the best by mean accuracy, writes all."""
    tried = {}
    for method, algorithm in methods.items():
        rows = []
        for activation in ACTIVATIONS:
            config = two_moons.config(
                algorithm | ALWAYS[algorithm['name']],
                steps=STEPS,
                activation=activation,
                init=1.0,
                noise=0.2,
            )
            numbers = settings(algorithm)
            nets = two_moons_fit.run(configs.complete(config.to_dict()), SEEDS, numbers)
            for number, accuracy in enumerate(nets['student'][0]):
                chosen = {name: round(float(value[number]), 2) for name, value in numbers.items()}
                scores = {
                    'mean': round(float(accuracy.mean()), 4),
                    'deviation': round(float(accuracy.std(ddof=1)), 4),
                }
                rows.append({'activation': activation} | chosen | scores)
        tried[method] = sorted(rows, key=lambda row: -row['mean'])
        print(method, tried[method][0], flush=True)
    path.write_text(to_json(tried), encoding='utf-8')


def settings(algorithm: dict) -> dict[str, np.ndarray]:
    """The numbers that the search tries, {dotted path: [DRAWS]}: a Latin hypercube over RANGES.

    The weight of the feedback keeps the sign that `algorithm` gives it.
    """
    low, high = np.log(np.array(list(RANGES.values()))).T
    cube = qmc.LatinHypercube(len(RANGES), rng=0).random(DRAWS)
    drawn = dict(zip(RANGES, np.exp(low + (high - low) * cube).T.round(2).astype(np.float32)))
    if 'feedback_weight' in algorithm:
        drawn['feedback_weight'] *= np.sign(algorithm['feedback_weight'])
    paths = PATHS[algorithm['name']]
    return {
        paths[name]: drawn[name]
        for name in paths
        if name != 'feedback_weight' or algorithm['feedback'] != 'off'
    }


def to_json(tried: dict[str, list[dict]]) -> str:
    """One line for each setting."""
    methods = [
        f'{json.dumps(method)}: [\n' + ',\n'.join(map(json.dumps, rows)) + '\n]'
        for method, rows in tried.items()
    ]
    return '{\n' + ',\n'.join(methods) + '\n}\n'
