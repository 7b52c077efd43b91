"""The page of a comparison of configs over seeds."""

import csv
from pathlib import Path

import numpy as np
from etils import epath

from mpl.comparison import plots, probes, protocol, runs, table
from mpl.comparison.table import Row
from mpl.pages import charts, page
from mpl.pages.page import Section
from mpl.run import config as configs
from mpl.run import figures
from mpl.run import report as reports


def render(workdir: Path) -> str:
    """The page of a comparison, from compare.csv and the reports of its runs.

    Raises:
      ValueError: no comparison, or a report is damaged.
    """
    found = read(workdir)
    named = {
        name: configs.read(epath.Path(next(iter(seeds.values()))) / 'config.json')
        for name, seeds in found.items()
    }
    measured = {
        name: {seed: reports.read(epath.Path(folder)) for seed, folder in seeds.items()}
        for name, seeds in found.items()
    }
    rows = table.gather(measured)
    part = plots.measured_part(rows)
    lead = protocol.show(measured, named).split('\n')
    sections = [
        Section('Results', header=table.HEADERS, rows=table.cells(rows)),
        *_probes(workdir),
        Section('Accuracy', charts=[_seeds(rows, part), *_by_labels(rows, part)]),
        *_curves(found),
        _commands(workdir, found, named),
    ]
    return page.render(f'Comparison {workdir}', lead, runs.warnings(measured), sections)


def is_comparison(workdir: Path) -> bool:
    """Whether a folder holds the table of a comparison."""
    return (workdir / 'compare.csv').exists()


def read(workdir: Path) -> dict[str, dict[int, Path]]:
    """The folders of the finished runs in the table of a comparison, by config and seed.

    Raises:
      ValueError: a run of the table has no report.
    """
    with open(workdir / 'compare.csv', newline='', encoding='utf-8') as file:
        listed = {row['config']: row['seeds'].split() for row in csv.DictReader(file)}
    found = {
        name: {int(seed): workdir / name / seed for seed in seeds} for name, seeds in listed.items()
    }
    for seeds in found.values():
        for folder in seeds.values():
            if not (folder / 'report.json').exists():
                raise ValueError(
                    f'compare.csv in {workdir} has the run {folder}, which has no report.json; run '
                    'the command of the comparison again.'
                )
    return found


def _probes(workdir: Path) -> list[Section]:
    """The probes of the runs, where the comparison has them."""
    rows = probes.read(workdir)
    if not rows:
        return []
    header, lines = probes.cells(rows)
    return [Section('Probes of fixed features', header=header, rows=lines)]


def _seeds(rows: list[Row], part: str) -> dict:
    """Accuracy of each row by seed, with mean and standard deviation."""
    drawn = []
    for row in rows:
        values = 100 * getattr(row, part)
        spread = table.spread(values) if len(values) > 1 else None
        drawn.append((f'{row.config} {row.network}', row.config, values, np.mean(values), spread))
    title = 'By seed; mean and standard deviation'
    return charts.points(title, f'{part} accuracy (%)', drawn)


def _by_labels(rows: list[Row], part: str) -> list[dict]:
    """Accuracy over the number of labels, if a method has several."""
    curves = {}
    for row in plots.finals(rows):
        curves.setdefault(plots.method(row), []).append(row)
    if all(len({row.labels for row in points}) < 2 for points in curves.values()):
        return []
    drawn = []
    for name, points in curves.items():
        points = sorted(points, key=lambda row: row.labels)
        means = [100 * np.mean(getattr(row, part)) for row in points]
        drawn.append((name, [row.labels for row in points], means))
    chart = charts.lines('By number of labels', drawn, f'{part} accuracy (%)', x='labeled examples')
    chart['layout']['xaxis']['type'] = 'log'
    return [chart]


def _curves(found: dict[str, dict[int, Path]]) -> list[Section]:
    """Accuracy over steps of every network, a color per config, a line per run."""
    by_network = {}
    for color, (name, seeds) in enumerate(found.items()):
        for folder in seeds.values():
            lines = reports.read_metrics(epath.Path(folder))
            for metric in figures.metric_names(lines, 'validation/', '/accuracy'):
                curve = (name, *figures.series(lines, metric))
                by_network.setdefault(metric.split('/')[1], []).append((curve, color))
    drawn = [
        charts.lines(network, [c for c, _ in curves], 'share', colors=[n for _, n in curves])
        for network, curves in by_network.items()
    ]
    return [Section('Validation accuracy over steps', charts=drawn)] if drawn else []


def _commands(workdir, found, named):
    """The command of the page and the config of each of its rows."""
    text = (
        f'This page: python -m mpl.report --workdir={workdir}. A page of a run: python -m '
        f'mpl.report --workdir={next(iter(next(iter(found.values())).values()))}. The configs below '
        'are those of the first seed, defaults included.'
    )
    folded = [(name, configs.to_json(config)) for name, config in named.items()]
    return Section('Configs and commands', text, code=folded)
