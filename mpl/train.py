"""Trains one config: python -m mpl.train --config=configs/digits.py:mpl --workdir=runs/x"""

import sys

from etils import epath

from mpl.parallel import processes
from mpl.run import command, loop, report, smoke, stages
from mpl.run import config as configs


def main():
    parser = command.parser(__doc__)
    parser.add_argument(
        '--config', required=True, type=command.path, help='a Python file with get_config()'
    )
    parser.add_argument('--workdir', required=True, type=command.path, help='folder of the run')
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='run every stage in seconds, small and on synthetic images',
    )
    processes.add_arguments(parser)
    given, overrides = command.parse(parser)
    config = configs.load(given.config, overrides)
    if given.smoke:
        config = smoke.shrink(config)
    processes.join(given)
    with processes.exit_together():
        try:
            written = stages.run(config, epath.Path(given.workdir))
        except loop.Stopped as stopped:
            processes.print_line(str(stopped))
            sys.exit(128 + stopped.signal)
    if processes.is_primary():
        print(report.show(written, given.workdir))


if __name__ == '__main__':
    command.main(main)
