"""Probes of all runs of a comparison as one table, beside untrained networks and raw pixels."""

import csv
import io
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict
from tabulate import tabulate

from mpl.comparison import table
from mpl.comparison.table import Reports
from mpl.comparison.workers import Job
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import measure as measures
from mpl.run import probe_features, probe_settings, probing, records

FILES = ('probes.md', 'probes.csv')
FLOORS = (probe_features.UNTRAINED, probe_features.PIXELS)


class Row(NamedTuple):
    """One kind of features with the same labels, over seeds."""

    config: str  # of the untrained network and of raw pixels: the first with as many dimensions and labels
    features: str  # the name of the network, or one of FLOORS
    dimensions: int
    labels: str  # as given
    count: int  # of these labels
    seeds: list[int]
    accuracy: dict[str, np.ndarray]  # by probe, fractions [seeds]


def check(named: dict[str, ConfigDict], labels: tuple[str, ...]) -> None:
    """Refuses labels that a config cannot be probed with, before anything is trained.

    Raises:
      ValueError: names the config.
    """
    settings = probe_settings.Settings(labels=labels)
    for name, config in named.items():
        try:
            experiment = experiments.assemble(config)
            parts = probe_settings.find_parts(experiment)
            if 'validation' not in parts:
                raise ValueError(
                    '--probes choose on validation, and there are no images with a label; give split.validation.'
                )
            banks = {text: probe_settings.find_labels(experiment, text) for text in labels}
            for text, bank in banks.items():
                if len(bank.indices) < max(settings.neighbors):
                    raise ValueError(
                        f'--probes {text} gives {len(bank.indices)} labels, fewer than the '
                        f'{max(settings.neighbors)} nearest neighbors; give more labels, or mpl.probe --neighbors.'
                    )
            probe_settings.check(settings, config, {settings.layer: (1, 1)}, banks, parts)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error


def measure(config: ConfigDict, folder: epath.Path, settings: probe_settings.Settings) -> dict:
    """The probes of the finished run in a folder, in the form of a job's function; see probing.run."""
    return probing.run(folder, settings)


def plan(
    named: dict[str, ConfigDict], reports: Reports, labels: tuple[str, ...], workdir: Path
) -> list[Job]:
    """A job for each finished run: the probes of the network that it predicts with."""
    return [
        Job(
            name,
            seed,
            configs.seeded(named[name], seed).to_dict(),
            str(workdir / name / str(seed)),
            partial(
                measure,
                settings=probe_settings.Settings(
                    measures.result(report['networks']), labels=labels
                ),
            ),
        )
        for name, by_seed in reports.items()
        for seed, report in by_seed.items()
    ]


def summarize(result: dict) -> str:
    """A result as a log line."""
    part = _part(result)
    texts = [
        f'{row.features}, {row.labels} labels, {probing.TITLES[row.probe]} {table.percent(row.accuracy[part])} %'
        for row in (probing.Row(**row) for row in result['rows'])
        if row.features not in FLOORS
    ]
    return f'{part} {"; ".join(texts)}'


def gather(results: Reports) -> list[Row]:
    """The rows, of the results of `measure`: for each labels the floors first, then one for each config."""
    found, labels = {}, {}
    for config, by_seed in results.items():
        for seed, result in sorted(by_seed.items()):
            part = _part(result)
            for row in (probing.Row(**row) for row in result['rows']):
                floor = row.features in FLOORS
                which = '' if floor else config
                key = (row.labels, row.count, which, row.features, row.dimensions)
                first, measured = found.setdefault(key, (config, {}))
                if first == config:
                    measured.setdefault(row.probe, {})[seed] = row.accuracy[part]
                labels.setdefault(row.labels, len(labels))
    order = sorted(found.items(), key=lambda item: (labels[item[0][0]], item[0][3] not in FLOORS))
    return [
        _row(first, features, dimensions, text, count, measured)
        for (text, count, _, features, dimensions), (first, measured) in order
    ]


def _row(config, features, dimensions, labels, count, measured):
    """A row of accuracies by probe and seed."""
    accuracy = {probe: np.array([*by_seed.values()]) for probe, by_seed in measured.items()}
    seeds = list(next(iter(measured.values())))
    return Row(config, features, dimensions, labels, count, seeds, accuracy)


def _part(result):
    return 'test' if 'test' in result['examples'] else 'validation'


def cells(rows: list[Row]) -> tuple[list[str], list[list]]:
    """The header of the table, and its cells."""
    probes = list(rows[0].accuracy)
    header = ['labels', 'config', 'features', 'dimensions', 'seeds']
    header += [f'{probing.TITLES[probe]} (%)' for probe in probes]
    return header, [
        [
            row.labels if row.labels == str(row.count) else f'{row.labels} ({row.count:,})',
            '-' if row.features in FLOORS else row.config,
            row.features,
            row.dimensions,
            len(row.seeds),
            *(
                f'{table.percent(values.mean())} ± {table.percent(table.spread(values))}'
                for values in row.accuracy.values()
            ),
        ]
        for row in rows
    ]


def show(rows: list[Row], style: str) -> str:
    """The rows as a table in a format of tabulate."""
    header, lines = cells(rows)
    align = ['left'] * 3 + ['right'] * (len(header) - 3)
    return tabulate(lines, header, style, colalign=align, disable_numparse=True)


def read(workdir: Path) -> list[Row]:
    """The rows in probes.csv of a comparison; none where it was not probed."""
    path, found = workdir / FILES[1], {}
    if path.exists():
        with open(path, newline='', encoding='utf-8') as file:
            for line in csv.DictReader(file):
                key = tuple(
                    line[name] for name in ('config', 'features', 'dimensions', 'labels', 'count')
                )
                measured = found.setdefault(key, {}).setdefault(line['probe'], {})
                measured[int(line['seed'])] = float(line['accuracy'])
    return [
        _row(config, features, int(dimensions), labels, int(count), measured)
        for (config, features, dimensions, labels, count), measured in found.items()
    ]


def remove(workdir: Path) -> None:
    """Deletes the tables, which may be of a comparison of other configs."""
    for name in FILES:
        (workdir / name).unlink(missing_ok=True)


def show_and_write(results: Reports, workdir: Path) -> None:
    """Prints the table and writes it, if there is any result."""
    if rows := gather(results):
        written = write(rows, workdir)
        print(f'{show(rows, "simple")}\nWritten:', ', '.join(map(str, written)))


def write(rows: list[Row], workdir: Path) -> list[Path]:
    """Writes probes.md and probes.csv; returns both."""
    markdown, values = (workdir / name for name in FILES)
    records.write_utf8(
        markdown,
        'Probes of fixed features, see mpl.probe: accuracy on test (on validation without one), mean ± sample standard '
        'deviation over seeds.\n\n'
        f'{show(rows, "github")}\n',
    )
    with io.StringIO(newline='') as file:
        lines = csv.writer(file)
        lines.writerow(
            ['labels', 'count', 'config', 'features', 'dimensions', 'probe', 'seed', 'accuracy']
        )
        for row in rows:
            for probe, accuracies in row.accuracy.items():
                for seed, accuracy in zip(row.seeds, accuracies):
                    lines.writerow([*row[3:5], *row[:3], probe, seed, accuracy])
        records.write_utf8(values, file.getvalue())
    return [markdown, values]
