"""Learns actively: python -m mpl.active --workdir=runs/al
--config=configs/digits_active.py:learner=freematch,rule=typiclust

Trains a run, lets a rule choose the images to label next (mpl/acquisition/), and trains again from
scratch: each cycle in <workdir>/cycle_0, cycle_1, ..., an ordinary run. Where the data set has the
labels of its pool, they are revealed as they are bought; where it has not, the command writes which
images to label and ends, and the same command goes on with the answers. It also resumes a stopped
study. Accuracy over bought labels: active.json, active.csv and active.png.

Other configs: --config.split.labels=0 --config.active.rule.name=margin --config.active.budget=20.
"""

import sys

from etils import epath

from mpl.cycles import loop as cycles
from mpl.cycles import people, report
from mpl.run import command, loop
from mpl.run import config as configs


def make_parser():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--config', required=True, type=command.path, help='a Python file with get_config()'
    )
    parser.add_argument('--workdir', required=True, type=command.path, help='folder of the study')
    return parser


def main():
    given, overrides = command.parse(make_parser())
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
