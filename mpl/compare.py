"""Compares configs over seeds: python -m mpl.compare --seeds=5 --workdir=runs/cmp
--configs configs/digits.py:supervised configs/digits.py:mpl,labels=20

Each config is trained with seeds 0, 1, ..., each run in <workdir>/<config>/<seed>, what it
prints beside it in <seed>.log. Where it is stopped, the same command goes on. The table
lies in compare.md and compare.csv, its plot in compare.png; compute.png has accuracy over
seconds and images, and labels.png accuracy over labels, where configs come with several
numbers of labels, as in digits.py:uda,labels=20 and digits.py:uda,labels=40. The differences are to the
first network of the first config with as many labels, seed by seed: put labels only first.
curves.png has the accuracies over steps, of runs under way too. With --minutes=25 all that
is at work is saved after so long, and the exit code is 143; so long trainings go in pieces:

    until python -m mpl.compare --minutes=25 ...; do [ $? = 143 ] || break; done
"""

import sys
from pathlib import Path

import jax

from mpl.comparison import plots, protocol, runs, table, workers
from mpl.run import command, loop


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--configs',
        required=True,
        nargs='+',
        type=command.local_path,
        help='Python files, each with :argument or without',
    )
    parser.add_argument('--seeds', type=int, default=5, help='runs of each config')
    parser.add_argument(
        '--workdir',
        required=True,
        type=command.local_path,
        help='folder for all runs and the table',
    )
    parser.add_argument(
        '--jobs', type=int, help='runs at a time; one per core, or one on a GPU or TPU'
    )
    parser.add_argument('--minutes', type=float, help='to stop after, as SIGTERM would')
    given, overrides = command.parse(parser)
    for name in ('seeds', 'jobs', 'minutes'):
        number = getattr(given, name)
        if number is not None and number <= 0:
            raise ValueError(f'--{name} is {number}; give a number above 0.')
    if any(override.startswith('--config.seed=') for override in overrides):
        raise ValueError('--config.seed has no use here; --seeds=5 trains with the seeds 0 to 4.')
    processes = given.jobs or workers.default_count()
    jax.config.update('jax_platforms', 'cpu')  # An accelerator is for the workers.
    named, workdir = runs.load(given.configs, overrides), Path(given.workdir)
    jobs, reports = runs.plan(named, given.seeds, workdir)
    try:
        with runs.limit(given.minutes):
            failures = runs.run(jobs, processes, reports)
    except loop.Stopped as stopped:
        finished = sum(len(of) for of in reports.values())
        print(
            f'{stopped} {finished} of {len(named) * given.seeds} runs are finished, those at '
            f'work are saved in {workdir}. The same command goes on from there.',
            file=sys.stderr,
        )
        runs.draw_curves(named, given.seeds, workdir)
        sys.exit(128 + stopped.signal)
    drawn = runs.draw_curves(named, given.seeds, workdir)
    rows = table.gather(reports)
    if rows:
        told = protocol.show(reports, named)
        notes = runs.warnings(reports) + failures
        files = table.write(rows, told, notes, workdir) + plots.write(rows, workdir) + drawn
        print(f'{told}\n\n{table.show(rows, "simple")}\n')
        for warning in runs.warnings(reports):
            print(f'Warning: {warning}')
        print('Written:', ', '.join(map(str, files)))
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(1 if failures else 0)


if __name__ == '__main__':
    command.main(main)
