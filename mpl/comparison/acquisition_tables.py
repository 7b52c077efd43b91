"""The results of a comparison of studies: tables, a figure, files."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

from mpl.comparison import table
from mpl.comparison.acquisitions import Curve
from mpl.comparison.studies import RANDOM
from mpl.run import figures, records

FILES = ('active.md', 'active.csv', 'active.png')


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
            'difference to random of the same seed, mean ± standard error; * 0 is outside of the 95 % '
            "interval by Student's t",
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
    """Writes active.md, active.csv and active.png; returns their paths.

    active.csv has a line per seed and cycle, with the labels of each class bought until then.
    """
    paths = [workdir / name for name in FILES]
    listed = ''.join(f'\n- {note}' for note in notes)
    records.write_utf8(paths[0], show(curves, 'github') + '\n' + (listed and f'{listed}\n'))
    with io.StringIO(newline='') as file:
        lines = csv.writer(file)
        columns = ['config', 'learner', 'rule', 'seed', 'cycle', 'bought', 'accuracy', 'area']
        classes = list(dict.fromkeys(name for curve in curves for name in curve.labels))
        lines.writerow(columns + [f'labels of {name}' for name in classes])
        for curve in curves:
            for place, cycle in np.ndindex(curve.accuracy.shape):
                row = [
                    curve.config,
                    curve.learner,
                    curve.rule,
                    curve.seeds[place],
                    cycle,
                    curve.bought[cycle],
                    curve.accuracy[place, cycle],
                    curve.area[place],
                ]
                counts = [
                    curve.labels[k][place, cycle] if k in curve.labels else '' for k in classes
                ]
                lines.writerow(row + counts)
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
                    [table.interval(column) for column in curve.difference.T],
                    color=color, marker='.', capsize=2, linewidth=1,
                )  # fmt: skip
        bottom.axhline(0, color='black', linewidth=1)
        top.set(title=learner, ylabel='accuracy (%): mean, and every seed')
        bottom.set(
            xlabel='images bought, validation included',
            ylabel='minus random of the same seed (points):\nmean and 95 % interval',
        )
        top.legend(fontsize='small')
    return figure


def _spread(values):
    more = f' ± {table.spread(values):.1f}' if len(values) > 1 else ''
    return f'{np.mean(values):.1f}{more}'


def _error(values):
    if len(values) < 2:
        return f'{np.mean(values):+.1f}' if len(values) else '-'
    mean, error = np.mean(values), table.standard_error(values)
    return f'{mean:+.1f} ± {error:.1f}' + ('*' if abs(mean) > table.interval(values) else '')


def _table(rows, headers, style):
    align = ['left'] + ['right'] * (len(headers) - 1)
    return tabulate(rows, headers, style, colalign=align if rows else None, disable_numparse=True)
