"""What a comparison of studies finds: curves, differences to uniform random, figures, files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from mpl.comparison import table
from mpl.comparison.studies import RANDOM
from mpl.comparison.table import Reports
from mpl.run import figures, records

RARE = 1 / 3  # of the frequency of the most frequent class, or less: a rare class
FILES = ('active.md', 'active.csv', 'active.png')


class Curve(NamedTuple):
    """A rule with a learner, over its seeds. Accuracies are in percent."""

    config: str
    learner: str
    rule: str
    seeds: list[int]
    bought: np.ndarray  # [cycles], mean over seeds: images, validation included
    accuracy: np.ndarray  # [seeds, cycles]
    area: np.ndarray  # [seeds]
    difference: np.ndarray  # [shared seeds, cycles] to random of the learner, by seed
    area_difference: np.ndarray  # [shared seeds]
    missing: float  # classes without an image at the end, mean
    distance: (
        float  # total variation distance of the classes bought from the pool, at the end, mean
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


def labels_of_random(curve: Curve, random: Curve) -> str:
    """The labels at which random's mean accuracy reaches the last one of a curve, interpolated."""
    wanted, mean = curve.accuracy.mean(0)[-1], random.accuracy.mean(0)
    above = np.flatnonzero(mean >= wanted)
    if not len(above):
        return f'> {random.bought[-1]:.0f}'
    k = above[0]
    if not k:
        return f'<= {random.bought[0]:.0f}'
    share = (wanted - mean[k - 1]) / (mean[k] - mean[k - 1])
    return f'{random.bought[k - 1] + share * (random.bought[k] - random.bought[k - 1]):.0f}'


def tables(curves: list[Curve]) -> list[tuple[str, list[str], list[list[str]]]]:
    """Of the curves of one learner: accuracies, differences to random, and what was bought.

    Returns:
      (text, header, rows) of each.
    """
    random = next((curve for curve in curves if curve.rule == RANDOM), None)
    labels = [f'{n:.0f}' for n in curves[0].bought]
    accuracies = [
        [c.rule, *(_spread(column) for column in c.accuracy.T), _spread(c.area), len(c.seeds)]
        for c in curves
    ]
    differences = [
        [c.rule, *(_error(column) for column in c.difference.T), _error(c.area_difference)]
        for c in curves
        if len(c.area_difference)
    ]
    bought = [
        [
            c.rule,
            labels_of_random(c, random) if random else '-',
            f'{c.missing:.1f}',
            f'{c.distance:.2f}',
            f'{c.skipped:.1f}',
            '-' if np.isnan(c.rare) else f'{c.rare:.1f}',
            f'{c.train_seconds:.0f}',
            f'{c.select_seconds:.1f}',
        ]
        for c in curves
    ]
    ends = [
        'labels of random', 'classes missing', 'distance', 'skipped', 'rare classes', 'training', 'selection'
    ]  # fmt: skip
    return [
        (
            'accuracy (%) by images bought, and its mean over the curve (area); mean ± standard '
            'deviation over seeds',
            ['rule', *labels, 'area', 'seeds'],
            accuracies,
        ),
        (
            'difference to random of the same seed, mean ± standard error; * beyond two standard '
            'errors',
            ['rule', *labels, 'area'],
            differences,
        ),
        (
            'labels that random needs for the accuracy at the end; classes without a label at the '
            'end, and how far the classes bought are from those of the pool (total variation); images '
            'of no class; accuracy (%) at the end on classes at most a third as frequent as the most '
            'frequent one; seconds in all cycles',
            ['rule', *ends],
            bought,
        ),
    ]


def show(curves: list[Curve], style: str) -> str:
    """The tables of each learner, as text."""
    texts = []
    for learner in dict.fromkeys(curve.learner for curve in curves):
        for text, header, rows in tables([c for c in curves if c.learner == learner]):
            texts += [f'{learner}: {text}', _table(rows, header, style)]
    return '\n\n'.join(texts)


def write(curves: list[Curve], notes: Sequence[str], workdir: Path) -> list[Path]:
    """Writes active.md, active.csv (a line per seed and cycle) and active.png; returns their paths."""
    paths = [workdir / name for name in FILES]
    listed = ''.join(f'\n- {note}' for note in notes)
    records.write_utf8(paths[0], show(curves, 'github') + '\n' + (listed and f'{listed}\n'))
    with io.StringIO(newline='') as file:
        lines = csv.writer(file)
        lines.writerow(['config', 'learner', 'rule', 'seed', 'cycle', 'bought', 'accuracy', 'area'])
        for curve in curves:
            for seed, accuracy, area in zip(curve.seeds, curve.accuracy, curve.area):
                for cycle, (bought, value) in enumerate(zip(curve.bought, accuracy)):
                    row = [
                        curve.config,
                        curve.learner,
                        curve.rule,
                        seed,
                        cycle,
                        bought,
                        value,
                        area,
                    ]
                    lines.writerow(row)
        records.write_utf8(paths[1], file.getvalue())
    figures.save(draw(curves), paths[2])
    return paths


def draw(curves: list[Curve]) -> Figure:
    """Accuracy over bought images, a column per learner, every seed thin; below, minus random."""
    learners = list(dict.fromkeys(curve.learner for curve in curves))
    rules = list(dict.fromkeys(curve.rule for curve in curves))
    figure = Figure((5.5 * len(learners), 7), layout='constrained')
    grid = figure.subplots(2, len(learners), squeeze=False, sharex=True)
    for learner, (top, bottom) in zip(learners, grid.T):
        for curve in (curve for curve in curves if curve.learner == learner):
            place = rules.index(curve.rule)
            color = 'black' if curve.rule == RANDOM else f'C{place % 10}'
            top.plot(curve.bought, curve.accuracy.T, color=color, linewidth=0.5, alpha=0.3)
            top.plot(
                curve.bought, curve.accuracy.mean(0), color=color, marker='.', label=curve.rule
            )
            if len(curve.area_difference):
                bottom.errorbar(
                    curve.bought + 0.15 * place,
                    curve.difference.mean(0),
                    [2 * table.standard_error(column) for column in curve.difference.T],
                    color=color, marker='.', capsize=2, linewidth=1,
                )  # fmt: skip
        bottom.axhline(0, color='black', linewidth=1)
        top.set(title=learner, ylabel='accuracy (%): mean, and every seed')
        bottom.set(
            xlabel='images bought, validation included',
            ylabel='minus random of the same seed (points):\nmean ± two standard errors',
        )
        top.legend(fontsize='small')
    return figure


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

    NaN if there are none.
    """
    pool, last = report['pool'], report['cycles'][-1]
    few = [name for name, count in pool.items() if count <= RARE * max(pool.values())]
    if not few or 'accuracy_by_class' not in last:  # A study of an older version.
        return np.nan
    accuracies = last['accuracy_by_class'][report['part']]
    return np.mean([accuracies[name] for name in few])


def _spread(values):
    more = f' ± {table.spread(values):.1f}' if len(values) > 1 else ''
    return f'{np.mean(values):.1f}{more}'


def _error(values):
    if len(values) < 2:
        return f'{np.mean(values):+.1f}' if len(values) else '-'
    mean, error = np.mean(values), table.standard_error(values)
    return f'{mean:+.1f} ± {error:.1f}' + ('*' if abs(mean) > 2 * error else '')


def _table(rows, headers, style):
    align = ['left'] + ['right'] * (len(headers) - 1)
    return tabulate(rows, headers, style, colalign=align if rows else None, disable_numparse=True)
