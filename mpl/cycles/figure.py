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
    for part in ('validation', 'test'):
        points = [
            (row['bought'], 100 * row['accuracy'][part]) for row in rows if part in row['accuracy']
        ]
        if points:
            curve.plot(*zip(*points), marker='.', label=part)
    curve.set(
        xlabel='images bought, validation included', ylabel=f'accuracy of {rows[0]["network"]} (%)'
    )
    bought = rows[-1]['classes']
    order = sorted(bought, key=bought.get, reverse=True)[:MOST]
    place = np.arange(len(order))
    for offset, label, counts in ((-0.2, 'bought', bought), (0.2, 'pool', report['pool'])):
        if counts:
            total = max(1, sum(counts.values()))
            height = [100 * counts[name] / total for name in order]
            shares.bar(place + offset, height, 0.4, label=label)
    shares.set_xticks(place, order, rotation=90 if len(order) > 12 else 0)
    shares.set(xlabel='class', ylabel='share (%)')
    return figures.add_legends(figure)
