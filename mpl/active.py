"""Learns actively: python -m mpl.active --workdir=runs/al
--config=configs/digits_active.py:learner=freematch,rule=typiclust

Trains a run, lets a rule choose the images to label next (mpl/acquisition/), and trains again from
scratch: each cycle in <workdir>/cycle_0, cycle_1, ..., an ordinary run. Where the data set has the
labels of its pool, they are revealed as they are bought; where it has not, the command writes which
images to label and ends, and the same command goes on with the answers. It also resumes a stopped
study. Accuracy over bought labels: active.json, active.csv and active.png.

Other configs: --config.split.labels=0 --config.active.rule.name=margin --config.active.budget=20.

Compares rules and learners over seeds:

    python -m mpl.active --workdir=runs/rules --seeds=5 --configs \\
        configs/digits_active.py:learner={supervised,freematch},rule={margin,typiclust}

Each study in <workdir>/<config>/<seed>, its output in <seed>.log beside it. Uniform random and the
balanced oracle are added for every learner, and differences are paired by seed. Tables, curves and
figure: active.md, active.csv and active.png. --minutes as in mpl.compare.
"""

import argparse
import sys
from pathlib import Path

import jax
from etils import epath

from mpl.comparison import acquisition_tables, acquisitions, runs, studies, workers
from mpl.cycles import loop as cycles
from mpl.cycles import people, report
from mpl.run import command, loop
from mpl.run import config as configs


def make_parser():
    parser = command.parser(__doc__)
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument('--config', type=command.path, help='a Python file with get_config()')
    which.add_argument('--configs', nargs='+', type=command.local_path, help='several, to compare')
    parser.add_argument('--workdir', required=True, type=command.path, help='folder of the study')
    parser.add_argument('--seeds', type=int, help='studies of each of --configs; default: 5')
    parser.add_argument(
        '--jobs', type=int, help='parallel studies of --configs; default: one per core'
    )
    parser.add_argument(
        '--minutes', type=float, help='stop --configs after this time, as on SIGTERM'
    )
    return parser


def compare(given: argparse.Namespace, overrides: list[str]) -> None:
    """Runs --configs over --seeds, and writes tables and figure."""
    seeds, workdir = given.seeds or 5, Path(given.workdir)
    processes = given.jobs or workers.default_count()
    jax.config.update('jax_platforms', 'cpu')  # The workers use the accelerator.
    named = studies.add_baselines(runs.load(given.configs, overrides))
    jobs, reports = studies.plan(named, seeds, workdir)
    stopped, failures = None, []
    try:
        with runs.limit(given.minutes):
            failures = runs.run(jobs, processes, reports, report.show)
    except loop.Stopped as caught:
        stopped = caught
        print(f'{stopped} The same command resumes from there.', file=sys.stderr)
    rules = {name: studies.rule_name(config) for name, config in named.items()}
    curves = acquisitions.gather(reports, studies.learners(named), rules)
    if curves:
        print(acquisition_tables.show(curves, 'simple'), '\n')
        print('Written:', ', '.join(map(str, acquisition_tables.write(curves, failures, workdir))))
    for failure in failures:
        print(failure, file=sys.stderr)
    sys.exit(128 + stopped.signal if stopped else bool(failures))


def main():
    given, overrides = command.parse(make_parser())
    if given.configs:
        runs.check_counts(given, overrides)
        compare(given, overrides)
    for name in runs.COUNTS:
        if getattr(given, name) is not None:
            raise ValueError(f'--{name} is for --configs; leave it out with --config.')
    config = configs.load(given.config, overrides)
    try:
        written = cycles.run(config, epath.Path(given.workdir))
    except people.Waiting as waiting:
        print(waiting)
        return
    except loop.Stopped as stopped:
        print(stopped)
        sys.exit(128 + stopped.signal)
    print(report.show(written))
    print(f'Report, curve, figure and cycles: {given.workdir}')


if __name__ == '__main__':
    command.main(main)
