"""Compares configs over seeds: python -m mpl.compare --seeds=5 --workdir=runs/cmp
--configs configs/digits.py:supervised configs/digits.py:mpl,labels=20

Trains each config with seeds 0, 1, ...: each run in <workdir>/<config>/<seed>, its output in
<seed>.log beside it. The same command resumes a stopped comparison.

Writes the table to compare.md and compare.csv and plots it in compare.png. compute.png plots
accuracy over seconds and FLOPs, curves.png over steps, minutes and FLOPs (unfinished runs included), and
labels.png accuracy over labels, if a method has several numbers of labels, as in
digits.py:uda,labels=20 and digits.py:uda,labels=40. Differences are paired by seed and relative to
the first network of the first config with the same number of labels, so give labels only first.

With --probes the features of all runs, each of the network that it predicts with, are measured as by
mpl.probe, given these labels: --probes split all. One more table (probes.md, probes.csv) has them beside those
of untrained networks and raw pixels.

With --minutes=25 all active runs are saved after 25 minutes and the exit code is 143, so that a
long comparison can be trained in pieces:

    until python -m mpl.compare --minutes=25 ...; do [ $? = 143 ] || break; done
"""

import sys
from pathlib import Path

import jax
from ml_collections import ConfigDict

from mpl.comparison import plots, probes, protocol, runs, table, workers
from mpl.comparison.table import Reports
from mpl.run import command, loop, probe_settings


def make_parser():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--configs',
        required=True,
        nargs='+',
        type=command.local_path,
        help='Python files, each optionally with :arguments',
    )
    parser.add_argument('--seeds', type=int, default=5, help='runs of each config')
    parser.add_argument(
        '--workdir',
        required=True,
        type=command.local_path,
        help='folder of all runs and the table',
    )
    parser.add_argument(
        '--jobs', type=int, help='parallel runs; default: one per core, or one on a GPU or TPU'
    )
    parser.add_argument('--minutes', type=float, help='stop after this time, as on SIGTERM')
    parser.add_argument('--probes', nargs='+', default=[], help=probe_settings.LABELS)
    return parser


def show(
    reports: Reports, named: dict[str, ConfigDict], failures: list[str], seeds: int, workdir: Path
):
    """Writes and prints the table of the finished runs and their figures."""
    drawn, rows = runs.draw_curves(named, seeds, workdir), table.gather(reports)
    if rows:
        summary = protocol.show(reports, named)
        notes = runs.warnings(reports) + failures
        files = table.write(rows, summary, notes, workdir) + plots.write(rows, workdir) + drawn
        print(f'{summary}\n\n{table.show(rows, "simple")}\n')
        for warning in runs.warnings(reports):
            print(f'Warning: {warning}')
        print('Written:', ', '.join(map(str, files)))


def main():
    given, overrides = command.parse(make_parser())
    runs.check_counts(given, overrides)
    labels, processes = tuple(given.probes), given.jobs or workers.default_count()
    jax.config.update('jax_platforms', 'cpu')  # The workers use the accelerator.
    named, workdir = runs.load(given.configs, overrides), Path(given.workdir)
    if labels:
        probes.check(named, labels)
    jobs, reports = runs.plan(named, given.seeds, workdir)
    what, done = 'runs are finished, the active ones are saved', reports
    try:
        with runs.limit(given.minutes):
            failures = runs.run(jobs, processes, reports)
            show(reports, named, failures, given.seeds, workdir)
            probes.remove(workdir)
            if labels:
                what, done = 'runs have their probes', {name: {} for name in named}
                jobs = probes.plan(named, reports, labels, workdir)
                failures += [
                    f'Probes of {failure}'
                    for failure in runs.run(jobs, processes, done, probes.summarize)
                ]
                probes.show_and_write(done, workdir)
    except loop.Stopped as stopped:
        print(
            f'{stopped} {sum(map(len, done.values()))} of {len(named) * given.seeds} {what} in {workdir}. The '
            'same command resumes from there.',
            file=sys.stderr,
        )
        runs.draw_curves(named, given.seeds, workdir)
        sys.exit(128 + stopped.signal)
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    command.main(main)
