"""Figures of a comparison: accuracy by seed, by number of labels and by compute."""

import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter
from sklearn.isotonic import isotonic_regression

from mpl.comparison import table
from mpl.comparison.table import Row
from mpl.run import figures, measure

MARKERS = 'osD^v'  # one per ten colors
TEXT = 8  # points


def write(rows: list[Row], workdir: Path) -> list[Path]:
    """Writes compare.png and, if the rows allow them, labels.png and compute.png; returns the paths.

    Rows without any accuracy, of runs without labels, are left out.
    """
    rows = [row for row in rows if not np.isnan([*row.test, *row.validation]).all()]
    names = distinct([row.config for row in rows])
    rows = [row._replace(config=names[row.config]) for row in rows]
    drawn = dict.fromkeys(('compare', 'labels', 'compute'))
    if rows:
        drawn = {'compare': seeds(rows), 'labels': by_labels(rows), 'compute': by_compute(rows)}
    written = []
    for name, figure in drawn.items():
        path = workdir / f'{name}.png'
        path.unlink(missing_ok=True)  # It may be from a comparison of other configs.
        if figure is not None:
            figures.save(figure, path)
            written.append(path)
    return written


def distinct(names: list[str]) -> dict[str, str]:
    """The names of configs without the arguments that all have: what tells them apart, for figures."""
    words = {name: name.split(',') for name in names}
    shared = set.intersection(*map(set, words.values())) if len(words) > 1 else set()
    return {
        name: ','.join(word for word in of_name if '=' not in word or word not in shared)
        for name, of_name in words.items()
    }


def seeds(rows: list[Row]) -> Figure:
    """Test accuracy (else validation) of each row: seeds, mean and standard deviation."""
    part = measured_part(rows)
    figure = Figure((8, 1.2 + 0.4 * len(rows)), layout='constrained')
    axes = figure.subplots()
    order = list(dict.fromkeys(row.config for row in rows))
    for position, row in enumerate(rows):
        values, color = 100 * getattr(row, part), f'C{order.index(row.config) % 10}'
        axes.plot(
            values, np.full(len(values), position), 'o', color=color, alpha=0.45, markersize=5
        )
        axes.errorbar(
            np.mean(values),
            position + 0.22,
            xerr=None if len(values) < 2 else table.spread(values),
            fmt='D',
            color=color,
            markersize=4,
            capsize=3,
        )
    axes.set_yticks(range(len(rows)), [f'{row.config}  {row.network}' for row in rows])
    axes.set(
        ylim=(len(rows) - 0.5, -0.5),
        xlabel=f'{part} accuracy (%): seeds;\nbelow, mean and standard deviation',
    )
    axes.grid(axis='x', alpha=0.3)
    return figure


def by_labels(rows: list[Row]) -> Figure | None:
    """Accuracy over the number of labels, a line per method, the first one dashed.

    None if no method has two numbers of labels.
    """
    lines = {}
    for row in finals(rows):
        lines.setdefault(method(row), []).append(row)
    if all(len({row.labels for row in points}) < 2 for points in lines.values()):
        return None
    part, ends = measured_part(rows), []
    figure = Figure((8, 5), layout='constrained')
    axes = figure.subplots()
    for index, (name, points) in enumerate(lines.items()):
        points = sorted(points, key=lambda row: row.labels)
        # Shifted a little, so that error bars do not overlap.
        shift = 1.01 ** (index - (len(lines) - 1) / 2)
        x, y = [shift * row.labels for row in points], [_mean(row, part) for row in points]
        style = _style(index)
        axes.errorbar(
            x,
            y,
            yerr=[_error_bar(row, part) for row in points],
            **style | ({'linestyle': '--', 'linewidth': 2} if index == 0 else {'linestyle': '-'}),
        )
        ends.append((x[-1], y[-1], name, style['color']))
    counts = sorted({row.labels for row in rows})
    axes.set_xscale('log')
    axes.set_xticks(counts, [f'{count:,}' for count in counts])
    axes.minorticks_off()
    axes.set(
        xlabel='labeled examples',
        ylabel=_accuracy(rows, part),
    )
    axes.grid(alpha=0.3)
    _name_ends(axes, ends, figure.get_figheight())
    return figure


def by_compute(rows: list[Row]) -> Figure | None:
    """Accuracy over the seconds and the FLOPs of training, a row per number of labels.

    Over images seen, if a report has no FLOPs. None for a single config.
    """
    rows = finals(rows)
    if len(rows) < 2:
        return None
    part = measured_part(rows)
    costs, unit = [row.flops for row in rows], 'FLOPs of training'
    if np.isnan(costs).any():
        costs, unit = [row.images for row in rows], 'images seen in training'
    counts = sorted({row.labels for row in rows})
    methods = list(dict.fromkeys(method(row) for row in rows))
    height = max(4.0, 1.5 + 0.2 * len(methods))  # inches, for the names
    figure = Figure((10, height * len(counts)), layout='constrained')
    grid = figure.subplots(len(counts), 2, squeeze=False, sharey='row')
    for labels, (seconds, compute) in zip(counts, grid):
        ends = []
        for row, cost in zip(rows, costs):
            if row.labels != labels:
                continue
            style = _style(methods.index(method(row)))
            seconds.errorbar(row.seconds, _mean(row, part), _error_bar(row, part), **style)
            compute.errorbar(cost, _mean(row, part), **style)  # Same cost: points in a column.
            ends.append((cost, _mean(row, part), method(row), style['color']))
        seconds.set(xlabel='training (seconds)', ylabel=_accuracy(rows, part))
        compute.set(xlabel=unit)
        compute.xaxis.set_major_formatter(EngFormatter())
        compute.locator_params('x', nbins=5)
        for axes in (seconds, compute):
            axes.set_xlim(0, 1.08 * axes.dataLim.x1)
            axes.set_title(f'{labels:,} labels', fontsize='medium')
            axes.grid(alpha=0.3)
        _name_ends(compute, ends, height)
    return figure


def finals(rows: list[Row]) -> list[Row]:
    """One network per config, see measure.result."""
    by_config = {}
    for row in rows:
        by_config.setdefault(row.config, {})[row.network] = row
    return [networks[measure.result(networks)] for networks in by_config.values()]


def method(row: Row) -> str:
    """The name of a row's config without its number of labels: labels=40, or 40 in a file name."""
    name = re.sub(r'([-,])labels=[^,]*,?', r'\1', row.config).rstrip('-,')
    return re.sub(rf'[-_]{row.labels}(?=[-_]|$)', '', name)


def spread(positions: list[float], gap: float, low: float, high: float) -> np.ndarray:
    """Ascending positions moved as little as possible (least squares) to be `gap` apart.

    They stay in [low, high] if they fit.
    """
    steps = gap * np.arange(len(positions))
    return steps + isotonic_regression(
        np.array(positions) - steps, y_min=low, y_max=max(low, high - steps[-1])
    )


def _name_ends(axes: Axes, ends: list[tuple[float, float, str, str]], height: float) -> None:
    """Names the curves at the right of the axes.

    Args:
      axes: of the curves.
      ends: the last point, name and color of each curve: (x, y, name, color).
      height: of the axes, in inches.
    """
    ends = sorted((end for end in ends if np.isfinite(end[1])), key=lambda end: end[1])
    low, high = axes.get_ylim()
    gap = (high - low) * 1.3 * TEXT / 72 / (0.8 * height)
    for (x, y, name, color), position in zip(
        ends, spread([end[1] for end in ends], gap, low, high)
    ):
        axes.annotate(
            name,
            (x, y),
            (1.04, position),
            textcoords=('axes fraction', 'data'),
            arrowprops=dict(
                arrowstyle='-', color=color, linewidth=0.6, alpha=0.6, relpos=(0, 0.5), shrinkB=4
            ),
            color=color,
            fontsize=TEXT,
            va='center',
            annotation_clip=False,
        )


def _style(index):
    """The style of the method with this index; the first one, the reference, is black."""
    return dict(
        color='black' if index == 0 else f'C{(index - 1) % 10}',
        marker=MARKERS[index // 10 % len(MARKERS)],
        linestyle='none',
        markersize=5,
        capsize=2,
        elinewidth=1,
    )


def measured_part(rows: list[Row]) -> str:
    """The part whose accuracy is drawn: test, or validation if no row has test."""
    return 'validation' if all(np.isnan(row.test).all() for row in rows) else 'test'


def _accuracy(rows, part):
    networks = ', '.join(dict.fromkeys(row.network for row in finals(rows)))
    return f'{part} accuracy (%) of {networks}:\nmean and standard deviation over seeds'


def _mean(row, part):
    return 100 * np.mean(getattr(row, part))


def _error_bar(row, part):
    values = 100 * getattr(row, part)
    return table.spread(values) if len(values) > 1 else 0.0
