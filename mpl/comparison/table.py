"""The results of several configs over seeds, as a table."""

import csv
import io
import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import stats
from tabulate import tabulate

from mpl.run import records

HEADERS = (
    'config', 'network', 'test (%)', 'difference', 'validation (%)', 'seeds', 'seconds',
    'peak memory', 'images seen', 'FLOPs',
)  # fmt: skip

Reports = dict[str, dict[int, dict]]  # by config, then seed


class Row(NamedTuple):
    """A network of a config over its seeds. Accuracies [seeds] are fractions, nan for a missing part."""

    config: str
    network: str
    labels: int  # labeled examples
    seeds: list[int]
    test: np.ndarray
    validation: np.ndarray
    difference: (
        np.ndarray
    )  # test accuracy minus that of the first row with as many labels, by shared seed
    seconds: float  # of training, mean
    memory: int  # bytes, maximum
    images: int  # seen in training
    flops: float  # of the convolutions and matrix products of training; nan in reports of old runs


def gather(reports: Reports) -> list[Row]:
    """One row per config and network, in order."""
    rows, firsts = [], {}
    for config, by_seed in reports.items():
        by_seed = dict(sorted(by_seed.items()))
        for network in next(iter(by_seed.values()))['networks'] if by_seed else ():
            test, validation = (
                np.array([accuracy(report, network, part) for report in by_seed.values()])
                for part in ('test', 'validation')
            )
            first = next(iter(by_seed.values()))
            labels = first['split']['labeled']
            row = Row(
                config,
                network,
                labels,
                list(by_seed),
                test,
                validation,
                _difference(list(by_seed), test, firsts.get(labels)),
                float(np.mean([report['seconds'] for report in by_seed.values()])),
                max(report['peak_memory_bytes'] for report in by_seed.values()),
                first['images_seen'],
                float(first['flops']['run']) if 'flops' in first else np.nan,
            )
            firsts.setdefault(labels, row)
            rows.append(row)
    return rows


def show(rows: list[Row], style: str) -> str:
    """The rows as a table in a format of tabulate."""
    align = ['left', 'left'] + ['right'] * 8
    return tabulate(cells(rows), HEADERS, style, colalign=align, disable_numparse=True)


def cells(rows: list[Row]) -> list[list[str]]:
    """The text of each cell, in the order of HEADERS."""
    firsts = {row.labels: row for row in reversed(rows)}
    return [
        [
            row.config,
            row.network,
            f'{percent(np.mean(row.test))} ± {percent(spread(row.test))}',
            '-' if row is firsts[row.labels] else _signed(row.difference),
            percent(np.mean(row.validation)),
            str(len(row.seeds)),
            f'{row.seconds:.0f}',
            f'{row.memory / 2**30:.2f} GiB',
            f'{row.images:,}',
            '-' if np.isnan(row.flops) else f'{row.flops:.2e}',
        ]
        for row in rows
    ]


def write(rows: list[Row], protocol: str, notes: list[str], workdir: Path) -> list[Path]:
    """Writes compare.md, with the notes below the table, and compare.csv; returns both."""
    markdown, values = workdir / 'compare.md', workdir / 'compare.csv'
    listed = ''.join(f'\n- {note}' for note in notes)
    shown = show([row._replace(config=_escape(row.config)) for row in rows], 'github')
    records.write_utf8(markdown, f'{protocol}\n\n{shown}\n' + (listed and f'{listed}\n'))
    with io.StringIO(newline='') as file:
        lines = csv.writer(file)
        lines.writerow(
            ['config', 'network', 'labels', 'seeds', 'test_mean', 'test_std', 'test_by_seed']
            + ['validation_mean', 'validation_std', 'difference_mean', 'difference_se']
            + ['seconds', 'peak_memory_bytes', 'images_seen', 'flops']
        )
        for row in rows:
            lines.writerow(
                [row.config, row.network, row.labels, ' '.join(map(str, row.seeds))]
                + [np.mean(row.test), spread(row.test), ' '.join(map(str, row.test))]
                + [np.mean(row.validation), spread(row.validation)]
                + [_mean(row.difference), standard_error(row.difference)]
                + [row.seconds, row.memory, row.images, row.flops]
            )
        records.write_utf8(values, file.getvalue())
    return [markdown, values]


def accuracy(report: dict, network: str, part: str) -> float:
    """A network's accuracy in a run's report, a fraction; nan if the run has no such part."""
    measured = report['networks'][network]
    return measured[part]['accuracy'] if part in measured else np.nan


def percent(fraction: float) -> str:
    """0.5 as '50.00', nan as '-'."""
    return '-' if np.isnan(fraction) else f'{100 * fraction:.2f}'


def _escape(name):
    """A name escaped for a Markdown table."""
    return re.sub(r'([|*<`])', r'\\\1', name)


def _difference(seeds, test, first):
    if first is None:
        return test - test
    shared = [seed for seed in seeds if seed in first.seeds]
    pick = [seeds.index(seed) for seed in shared], [first.seeds.index(seed) for seed in shared]
    return test[pick[0]] - first.test[pick[1]]


def _mean(values):
    return np.mean(values) if len(values) else np.nan


def spread(values: np.ndarray) -> float:
    """Sample standard deviation; nan for a single value."""
    return np.std(values, ddof=1) if len(values) > 1 else np.nan


def standard_error(values: np.ndarray) -> float:
    """Of the mean of the values; nan for a single one."""
    return spread(values) / np.sqrt(max(len(values), 1))


def interval(values: np.ndarray) -> float:
    """Half of the 95 % interval of their mean, by Student's t; nan for a single value.

    Of few values it is wider than two standard errors: 2.8 of five, 4.3 of three.
    """
    return stats.t.ppf(0.975, max(len(values) - 1, 1)) * standard_error(values)


def _signed(values):
    mean = _mean(values)
    return '-' if np.isnan(mean) else f'{100 * mean:+.2f} ± {percent(standard_error(values))}'
