"""The figure of a study: accuracy over bought labels, and what was bought."""

import numpy as np
from matplotlib.figure import Figure

from mpl.run import figures

MOST = 40  # classes with a bar each


def draw(report: dict) -> Figure:
    """Accuracy over bought images, and the share of each class among them and in the pool."""
    rows = report['cycles']
    figure = Figure((9, 3.5), layout='constrained')
    curve, shares = figure.subplots(1, 2)
    for part, images, percent in curves(report):
        curve.plot(images, percent, marker='.', label=part)
    curve.set(
        xlabel='images bought, validation included', ylabel=f'accuracy of {rows[0]["network"]} (%)'
    )
    order, percents = class_shares(report)
    place = np.arange(len(order))
    for offset, (label, height) in zip((-0.2, 0.2), percents.items()):
        shares.bar(place + offset, height, 0.4, label=label)
    shares.set_xticks(place, order, rotation=90 if len(order) > 12 else 0)
    shares.set(xlabel='class', ylabel='share (%)')
    return figures.add_legends(figure)


def curves(report: dict) -> list[tuple[str, list[int], list[float]]]:
    """(part, images bought, accuracy in percent) of each part that was measured."""
    found = []
    for part in ('validation', 'test'):
        rows = [row for row in report['cycles'] if part in row['accuracy']]
        if rows:
            accuracy = [100 * row['accuracy'][part] for row in rows]
            found.append((part, [row['bought'] for row in rows], accuracy))
    return found


def class_shares(report: dict) -> tuple[list[str], dict[str, list[float]]]:
    """The MOST classes that were bought most, and their percent among 'bought' and in the 'pool'."""
    bought = report['cycles'][-1]['classes']
    order = sorted(bought, key=bought.get, reverse=True)[:MOST]
    percents = {}
    for title, counts in (('bought', bought), ('pool', report['pool'])):
        if counts:
            total = max(1, sum(counts.values()))
            percents[title] = [100 * counts[name] / total for name in order]
    return order, percents
