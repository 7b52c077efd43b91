"""The runs of a comparison: configs by name, unfinished runs as jobs, reports and curves."""

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from absl import logging
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from mpl.comparison import curves, table, workers
from mpl.comparison.table import Reports
from mpl.comparison.workers import Job
from mpl.run import config as configs
from mpl.run import config_files, data_record, figures, folders, report
from mpl.run import experiment as experiments

# Files that the command writes to its folder.
FILES = (
    'compare.md', 'compare.csv', 'compare.png', 'labels.png', 'compute.png', 'curves.png',
    'probes.md', 'probes.csv', 'report.html',
)  # fmt: skip

COUNTS = ('seeds', 'jobs', 'minutes')  # arguments of commands that compare


def load(paths: list[str], overrides: list[str]) -> dict[str, ConfigDict]:
    """The configs by the names of their folders, see config_files.name.

    Raises:
      ValueError: two configs have the same name or are the same, or one is refused.
    """
    named, seen = {}, {}
    for path in paths:
        name = config_files.name(path)
        if name in FILES or not name.strip('.'):
            raise ValueError(
                f'The runs of {path} cannot be in a folder {name!r} of --workdir; give the file '
                'another name.'
            )
        if name in named:
            raise ValueError(
                f'Two of --configs have the name {name!r}, the second is {path}; '
                'give each once, and each file another name.'
            )
        named[name] = configs.load(path, overrides)
        file = config_files.find(path)[0].resolve()
        same = seen.setdefault((file, configs.to_json(named[name])), path)
        if same != path:
            raise ValueError(f'{same} and {path} are the same config; give it once.')
    return named


def check_counts(given: argparse.Namespace, overrides: list[str]) -> None:
    """Refuses --seeds, --jobs and --minutes that are no positive numbers, and a seed for all runs."""
    for name in COUNTS:
        value = getattr(given, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f'--{name} is {value}; give a number above 0.')
    if any(override.startswith('--config.seed=') for override in overrides):
        raise ValueError(
            '--config.seed is not allowed here; --seeds=5 trains with the seeds 0 to 4.'
        )


def plan(named: dict[str, ConfigDict], seeds: int, workdir: Path) -> tuple[list[Job], Reports]:
    """Jobs for the unfinished runs, and the reports of the finished ones.

    Ordered by seed, so that a stopped comparison has the same seeds for all configs.

    Raises:
      ValueError: a config is refused, or a folder holds a run of another config.
    """
    jobs, reports = [], {name: {} for name in named}
    for seed in range(seeds):
        for name, config in named.items():
            folder = workdir / name / str(seed)
            seeded = configs.seeded(config, seed)
            folders.check(seeded, folder)
            if (folder / 'report.json').exists():
                reports[name][seed] = report.read(folder)
            else:
                jobs.append(Job(name, seed, seeded.to_dict(), str(folder)))
    new = []
    for name in dict.fromkeys(job.name for job in jobs):
        try:
            new.append((named[name], data_record.make(experiments.assemble(named[name]))))
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
    runs = [(named[n], epath.Path(workdir / n / str(s))) for n in named for s in range(seeds)]
    data_record.check_same_data(runs, new)
    return jobs, reports


def run(
    jobs: list[Job],
    processes: int,
    reports: Reports,
    summarize: Callable[[dict], str] | None = None,
) -> list[str]:
    """Runs the jobs and adds their reports; returns a sentence for each failure.

    summarize: a report as a log line; by default the accuracies of a run.

    Raises:
      loop.Stopped: SIGTERM or SIGINT was received, and all active runs are saved.
    """
    failures = []
    for job in jobs:
        Path(job.folder).parent.mkdir(parents=True, exist_ok=True)
    done = sum(map(len, reports.values()))
    with tqdm(total=done + len(jobs), initial=done, unit='run', smoothing=0) as bar:
        for job, result in workers.run(jobs, processes):
            if isinstance(result, str):
                failures.append(f'{job.name}, seed {job.seed}, failed: {result}')
                line = failures[-1]
            else:
                reports[job.name][job.seed] = result
                line = f'{job.name}, seed {job.seed}: {(summarize or _summarize)(result)}'
            tqdm.write(line, file=sys.stderr)
            bar.update()
    return failures


@contextlib.contextmanager
def limit(minutes: float | None) -> Iterator[None]:
    """Context that sends this process SIGTERM after some minutes; None: never."""
    timer = threading.Timer(60 * (minutes or 0), os.kill, (os.getpid(), signal.SIGTERM))
    if minutes:
        timer.start()
    try:
        yield
    finally:
        timer.cancel()


def draw_curves(named: dict[str, ConfigDict], seeds: int, workdir: Path) -> list[Path]:
    """Writes curves.png if any run has an evaluation; returns the written paths."""
    path = workdir / 'curves.png'
    path.unlink(missing_ok=True)  # It may be from a comparison of other configs.
    try:
        figure = curves.draw(
            {name: [workdir / name / str(s) for s in range(seeds)] for name in named}
        )
    except ValueError as error:
        logging.warning('%s is not drawn: %s', path, error)
        return []
    if figure is None:
        return []
    figures.save(figure, path)
    return [path]


def warnings(reports: Reports) -> list[str]:
    """The warnings of all runs, a sentence each."""
    return [
        f'{name}, seed {seed}, {sentence}'
        for name, by_seed in reports.items()
        for seed, of_run in sorted(by_seed.items())
        for sentence in report.warnings(of_run)
    ]


def _summarize(result):
    measured = [part for net in result['networks'].values() for part in net]
    part = 'test' if 'test' in measured else 'validation'
    texts = [
        f'{network} {table.percent(table.accuracy(result, network, part))} %'
        for network in result['networks']
    ]
    return f'{part} {", ".join(texts)} ({result["seconds"]:.0f} s)'
