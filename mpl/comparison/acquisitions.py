"""What a comparison of studies finds: curves, and differences to uniform random."""

from typing import NamedTuple

import numpy as np

from mpl.comparison.studies import RANDOM
from mpl.comparison.table import Reports

RARE = 1 / 3  # of the frequency of the most frequent class, or less: a rare class


class Curve(NamedTuple):
    """A rule with a learner, over its seeds. Accuracies are in percent."""

    config: str
    learner: str
    rule: str
    seeds: list[int]
    bought: np.ndarray  # [cycles], mean over seeds: images, validation included
    accuracy: np.ndarray  # [seeds, cycles]
    area: np.ndarray  # [seeds]
    labels: dict[str, np.ndarray]  # by class: the labels bought until each cycle, [seeds, cycles]
    difference: np.ndarray  # [shared seeds, cycles] to random of the learner, by seed
    area_difference: np.ndarray  # [shared seeds]
    missing: float  # classes without an image at the end, mean
    distance: (
        float  # total variation, of the classes bought from those of the pool, at the end, mean
    )
    skipped: float  # images bought that are of no class, at the end, mean
    rare: float  # accuracy at the end on the rare classes, see `_rare`, mean; NaN if none is rare
    train_seconds: float  # of all cycles, mean
    select_seconds: float


def gather(reports: Reports, learners: dict[str, str], rules: dict[str, str]) -> list[Curve]:
    """A curve per config with a finished study, in order; random is the first of its learner.

    Args:
      reports: of finished studies, by config and seed.
      learners, rules: the names of each config's learner and rule.
    """
    order = sorted(reports, key=lambda name: (list(learners.values()).index(learners[name]),
                                              rules[name] != RANDOM))  # fmt: skip
    curves, firsts = [], {}
    for name in order:
        by_seed = dict(sorted(reports[name].items()))
        if not by_seed:
            continue
        found = list(by_seed.values())
        accuracy = 100 * np.array(
            [[row['accuracy'][report['part']] for row in report['cycles']] for report in found]
        )
        ends = [report['cycles'][-1] for report in found]
        curve = Curve(
            name,
            learners[name],
            rules[name],
            list(by_seed),
            np.mean([[row['bought'] for row in report['cycles']] for report in found], 0),
            accuracy,
            100 * np.array([report['area'] for report in found]),
            {
                k: np.array([[row['classes'][k] for row in report['cycles']] for report in found])
                for k in ends[0]['classes']
            },
            accuracy[:0],
            np.zeros(0),
            float(np.mean([sum(not n for n in end['classes'].values()) for end in ends])),
            float(np.mean([_distance(r['pool'], r['cycles'][-1]['classes']) for r in found])),
            float(np.mean([end['skipped'] for end in ends])),
            100 * float(np.mean([_rare(report) for report in found])),
            *(
                float(np.mean([sum(row[key] for row in r['cycles']) for r in found]))
                for key in ('train_seconds', 'select_seconds')
            ),
        )
        if curve.rule == RANDOM:
            firsts[curve.learner] = curve
        elif curve.learner in firsts:
            curve = _paired(curve, firsts[curve.learner])
        curves.append(curve)
    return curves


def _paired(curve, random):
    shared = [seed for seed in curve.seeds if seed in random.seeds]
    own, other = ([of.seeds.index(seed) for seed in shared] for of in (curve, random))
    return curve._replace(
        difference=curve.accuracy[own] - random.accuracy[other],
        area_difference=curve.area[own] - random.area[other],
    )


def _distance(pool, bought):
    names = [name for name in pool if name in bought]
    shares = [np.array([of[name] for name in names], float) for of in (pool, bought)]
    return float(np.abs(np.subtract(*(of / max(1, of.sum()) for of in shares))).sum() / 2)


def _rare(report):
    """The mean accuracy of the rare classes at the end: those RARE times as frequent as another, or less.

    NaN if there are none, or none is measured.
    """
    pool, last = report['pool'], report['cycles'][-1]
    if 'accuracy_by_class' not in last:  # A study of an older version.
        return np.nan
    few = [name for name, count in pool.items() if count <= RARE * max(pool.values())]
    accuracies = [last['accuracy_by_class'][report['part']][name] for name in few]
    measured = [accuracy for accuracy in accuracies if accuracy is not None]
    return np.mean(measured) if measured else np.nan
