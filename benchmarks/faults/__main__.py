"""Campaigns that look for silent faults: python -m benchmarks.faults --only kills,disk --workdir=runs/faults

kills      commands killed at random moments, until they end: as unbroken runs do?
changes    files of a run with a byte changed or their ends cut off: noticed, or of no effect?
disk       a disk that gets full at a random moment: a sentence, and on with it once there is room?
fuzz       any value at any key, any CSV file and folder: a sentence, or a right result?
processes  two processes, one killed: does the other end, and do both go on to the same bits?

Prints a table of all that is done, with every fault below it. The same command goes on where it
stopped; exit code 1 where there is a fault. docs/reliability.md has the figures.
"""

import argparse
import os
import signal
import sys
from pathlib import Path

CAMPAIGNS = ('kills', 'changes', 'disk', 'fuzz', 'processes')


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--only', default=','.join(CAMPAIGNS), help='campaigns, by commas')
    parser.add_argument('--workdir', type=Path, default=Path('runs/faults'))
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--kills', type=int, default=100, help='of each command, by each signal')
    parser.add_argument('--commands', default='train,teacher,compare,predict', help='to kill')
    parser.add_argument('--changes', type=int, default=1000, help='of single bytes')
    parser.add_argument('--truncations', type=int, default=200)
    parser.add_argument('--fills', type=int, default=50, help='of the disk')
    parser.add_argument(
        '--examples', type=int, default=1000, help='of each property that is fuzzed'
    )
    parser.add_argument('--losses', type=int, default=20, help='of one process of two')
    given = parser.parse_args()
    chosen = given.only.split(',')
    if unknown := [name for name in chosen if name not in CAMPAIGNS]:
        parser.error(f'--only has {unknown[0]!r}; give some of {",".join(CAMPAIGNS)}.')
    folder = given.workdir.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # Or the disk would stay mounted.
    # Before jax is imported: one device, as a user has, and compiled programs of its own.
    os.environ |= {
        'JAX_PLATFORMS': 'cpu',
        'XLA_FLAGS': '',
        'MPL_CACHE': str(folder / 'cache'),
        'JAX_COMPILATION_CACHE_DIR': str(folder / 'cache'),
    }
    from benchmarks.faults import changes, disk, fuzz, kills, processes, trials

    campaigns = {
        'kills': lambda to: kills.campaign(to, given.kills, given.seed, given.commands.split(',')),
        'changes': lambda to: changes.campaign(to, given.changes, given.truncations, given.seed),
        'disk': lambda to: disk.campaign(to, given.fills, given.seed),
        'fuzz': lambda to: fuzz.campaign(to, given.examples, given.seed),
        'processes': lambda to: processes.campaign(to, given.losses, given.seed),
    }
    outcomes = []
    for name in chosen:
        outcomes += campaigns[name](folder / name)
    print(trials.show(outcomes))
    sys.exit(any(of.kind == trials.FAULT for of in outcomes))


if __name__ == '__main__':
    main()
