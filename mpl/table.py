"""What runs of several configs come to over their seeds: a table and a plot."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

Reports = dict[str, dict[int, dict]]  # by config, then seed


class Row(NamedTuple):
    """A network of a config over its seeds. Accuracies [seeds] are shares, nan for no such part."""

    config: str
    network: str
    seeds: list[int]
    test: np.ndarray
    validation: np.ndarray
    difference: np.ndarray  # in test accuracy to the first row, of the seeds that both have
    seconds: float  # of training, mean
    memory: int  # bytes, greatest
    images: int  # seen in training


def gather(reports: Reports) -> list[Row]:
    """One row per config and network, in order."""
    rows = []
    for config, of in reports.items():
        of = dict(sorted(of.items()))
        for network in next(iter(of.values()))['networks'] if of else ():
            test, validation = (
                np.array([accuracy(report, network, part) for report in of.values()])
                for part in ('test', 'validation')
            )
            rows.append(
                Row(
                    config,
                    network,
                    list(of),
                    test,
                    validation,
                    _difference(list(of), test, rows[0] if rows else None),
                    float(np.mean([report['seconds'] for report in of.values()])),
                    max(report['peak_memory_bytes'] for report in of.values()),
                    next(iter(of.values()))['images_seen'],
                )
            )
    return rows


def protocol(reports: Reports) -> str:
    """In two lines, what the numbers of the table are."""
    data = {}
    for config, of in reports.items():
        for report in of.values():
            source, split = report['source'], report['split']
            named = [source[k] for k in ('name', 'dataset', 'path') if k in source]
            counts = [f'{split[k]:,} {k}' for k in ('labeled', 'unlabeled', 'validation')]
            data.setdefault(f'{" ".join(named)}, {", ".join(counts)}', {})[config] = None
    listed = [text + (f' ({", ".join(of)})' if len(data) > 1 else '') for text, of in data.items()]
    return (
        f'Data: {"; ".join(listed)}. The seed draws split, weights and order.\n'
        'Accuracy of the last checkpoint, test measured once, after training: mean ± sample '
        'standard deviation over seeds. Difference: in test accuracy to the first row, seed by '
        'seed, mean ± standard error.'
    )


def show(rows: list[Row], style: str) -> str:
    """The rows as a table, in a style of tabulate."""
    headers = [
        'config', 'network', 'test (%)', 'difference', 'validation (%)', 'seeds', 'seconds',
        'peak memory', 'images seen',
    ]  # fmt: skip
    lines = [
        [
            row.config,
            row.network,
            f'{percent(np.mean(row.test))} ± {percent(_std(row.test))}',
            '-' if row is rows[0] else _signed(row.difference),
            percent(np.mean(row.validation)),
            len(row.seeds),
            f'{row.seconds:.0f}',
            f'{row.memory / 2**30:.2f} GiB',
            f'{row.images:,}',
        ]
        for row in rows
    ]
    align = ['left', 'left'] + ['right'] * 7
    return tabulate(lines, headers, style, colalign=align, disable_numparse=True)


def write(rows: list[Row], reports: Reports, failures: list[str], workdir: Path) -> None:
    """Writes compare.md, compare.csv and compare.png."""
    failed = ''.join(f'\n- {failure}' for failure in failures)
    (workdir / 'compare.md').write_text(
        f'{protocol(reports)}\n\n{show(rows, "github")}\n' + (failed and f'{failed}\n')
    )
    with (workdir / 'compare.csv').open('w', newline='') as file:
        lines = csv.writer(file)
        lines.writerow(
            ['config', 'network', 'seeds', 'test_mean', 'test_std', 'test_by_seed']
            + ['validation_mean', 'validation_std', 'difference_mean', 'difference_se']
            + ['seconds', 'peak_memory_bytes', 'images_seen']
        )
        for row in rows:
            lines.writerow(
                [row.config, row.network, ' '.join(map(str, row.seeds))]
                + [np.mean(row.test), _std(row.test), ' '.join(map(str, row.test))]
                + [np.mean(row.validation), _std(row.validation)]
                + [_mean(row.difference), _error(row.difference)]
                + [row.seconds, row.memory, row.images]
            )
    draw(rows).savefig(workdir / 'compare.png', dpi=120)


def draw(rows: list[Row]) -> Figure:
    """Test accuracy (validation where there is no test) of each row: its seeds, mean and spread."""
    part = 'validation' if all(np.isnan(row.test).all() for row in rows) else 'test'
    figure = Figure((8, 1.2 + 0.4 * len(rows)), layout='constrained')
    axes = figure.subplots()
    order = list(dict.fromkeys(row.config for row in rows))
    for place, row in enumerate(rows):
        values, color = 100 * getattr(row, part), f'C{order.index(row.config) % 10}'
        axes.plot(values, np.full(len(values), place), 'o', color=color, alpha=0.45, markersize=5)
        axes.errorbar(
            np.mean(values),
            place + 0.22,
            xerr=None if len(values) < 2 else _std(values),
            fmt='D',
            color=color,
            markersize=4,
            capsize=3,
        )
    axes.set_yticks(range(len(rows)), [f'{row.config}  {row.network}' for row in rows])
    axes.set(
        ylim=(len(rows) - 0.5, -0.5),
        xlabel=f'{part} accuracy (%): one point per seed; below, mean and standard deviation',
    )
    axes.grid(axis='x', alpha=0.3)
    return figure


def accuracy(report: dict, network: str, part: str) -> float:
    """A network's accuracy in a run's report, a share; nan where the run has no such part."""
    measured = report['networks'][network]
    return measured[part]['accuracy'] if part in measured else np.nan


def percent(share: float) -> str:
    """0.5 as '50.00', nan as '-'."""
    return '-' if np.isnan(share) else f'{100 * share:.2f}'


def _difference(seeds, test, first):
    if first is None:
        return test - test
    shared = [seed for seed in seeds if seed in first.seeds]
    pick = [seeds.index(seed) for seed in shared], [first.seeds.index(seed) for seed in shared]
    return test[pick[0]] - first.test[pick[1]]


def _mean(values):
    return np.mean(values) if len(values) else np.nan


def _std(values):
    return np.std(values, ddof=1) if len(values) > 1 else np.nan


def _error(values):
    return _std(values) / np.sqrt(max(len(values), 1))


def _signed(values):
    mean = _mean(values)
    return '-' if np.isnan(mean) else f'{100 * mean:+.2f} ± {percent(_error(values))}'
