"""What a GPU does in ten minutes: python -m benchmarks.gpu_session, or bash benchmarks/gpu.sh

In this order: the quickstart (bash launch/local.sh); meanwhile a plan of each config, compiled on the
CPU for this kind of GPU; the step of the last config alone (python -m benchmarks.gpu); and a training of
each config, all of as many steps as the time allows by the measured step. Hyperparameters in steps keep
their share of the run, so each learning rate reaches its end; accuracy is that of the test set, measured
once, after far fewer steps than the recipe has. No stage runs beyond its share of --minutes: a training
is stopped by SIGTERM, and its row then has the accuracy of its last evaluation, on 1,000 held-out
images. If there is no time for 200 steps nothing is trained; if the step could not be measured, 1,000
steps in equal shares of the time. A line says so.

Results so far are written to <out>/session.json after every stage, output of the stages beside it.
--trial runs it without a GPU, at small size, as in
python -m benchmarks.gpu_session --trial --minutes=2 --quickstart=0 --configs configs/smoke.py
"""

import json
import signal
import subprocess
import sys
from pathlib import Path

import jax

from benchmarks import gpu_stages, gpu_table
from benchmarks.gpu_stages import Session
from mpl.planning import chips
from mpl.run import command
from mpl.run import config as configs

CONFIGS = ('configs/cifar10.py:uda', 'configs/cifar10.py:mpl')
QUERY = 'import json, jax; d = jax.devices(); print(json.dumps(dict(kind=d[0].device_kind, platform=d[0].platform, count=len(d))))'
START = 30.0  # seconds of a training beside its compilation and its steps
SHARE = 0.4  # of the time left, at most, for the step alone
LEAST = 200  # steps of a training, which have a multiple of it
UNMEASURED = 1000  # steps of a training if the time of a step is unknown


def count_steps(left: float, overhead: float, paces: list[float]) -> int:
    """Steps of each training; 0 if there is no time.

    Args:
      left: seconds for all trainings.
      overhead: seconds of each beside its steps.
      paces: seconds of a step, by training.
    """
    steps = 0.9 * (left - overhead * len(paces)) / sum(paces)
    return max(0, int(steps) // LEAST * LEAST)


def find_paces(step: float, plans: list[dict | None]) -> list[float]:
    """Seconds of a step by training: the measured one of the last, in proportion to the plans."""
    planned = [plan['seconds']['step'] if plan and plan['seconds'] else None for plan in plans]
    if not all(planned):
        return [step] * len(plans)
    return [step * each / planned[-1] for each in planned]


def find_topology(device: dict) -> str:
    """The topology of the present devices, for mpl.plan; 'local' for those it does not know."""
    return (
        f'{chips.KINDS[device["kind"]]}:{device["count"]}'
        if device['platform'] == 'gpu' and device['kind'] in chips.KINDS
        else 'local'
    )


def find_device() -> dict:
    """Kind, platform and count of the devices, asked in a process that then frees them.

    Raises:
      ValueError: jax finds none.
    """
    done = subprocess.run([sys.executable, '-c', QUERY], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f'jax finds no device; it ends with: {done.stderr.strip()[-500:]}')
    return json.loads(done.stdout.splitlines()[-1])


def plan_and_quickstart(session: Session, device: dict, seconds: float) -> list[dict | None]:
    """Runs the quickstart, and beside it the plans, which it waits for; returns the plans."""
    topology, planning = find_topology(device), []
    paths = [session.out / f'plan_{name}.json' for name in session.names]
    for config, path in zip(session.paths, paths):
        path.unlink(missing_ok=True)
        more = (f'--topology={topology}', f'--json={path}')
        words = ['nice', *session.module('mpl.plan', config, *more)]
        planning.append(gpu_stages.start(words, path.with_suffix('.log')))
    try:
        if seconds > 0:
            if Path('runs/digits_40').exists():
                session.note(
                    'runs/digits_40 was there: the quickstart resumed, or had nothing to do.'
                )
            session.run('quickstart', ['bash', 'launch/local.sh'], seconds)
            session.results['quickstart'] = read_quickstart()
    finally:
        for process in planning:
            gpu_stages.end(process, min(90.0, session.left()))
    plans = [gpu_table.read_json(path) for path in paths]
    for path, plan in zip(paths, plans):
        if plan is None:
            session.note(f'No plan: {path.with_suffix(".log")} says why.')
    return plans


def read_quickstart() -> dict:
    """Test accuracy and seconds of the finished runs of the quickstart."""
    found = {}
    for path in sorted(Path('runs/digits_40').glob('*/0/report.json')):
        one = json.loads(path.read_text(encoding='utf-8'))
        found[path.parts[-3]] = {
            'seconds': one['seconds'],
            'devices': one['devices'],
            **{name: net['test']['accuracy'] for name, net in one['networks'].items()},
        }
    return found


def measure_step(session: Session, plan: dict | None, seconds: float, window: int) -> dict | None:
    """The row of the last config's step alone; None if it could not be measured."""
    path = session.out / 'step.json'
    path.unlink(missing_ok=True)
    more = ('--policies', '--dtypes', '--calls', f'--seconds={seconds}', f'--window={window}')
    words = session.module('benchmarks.gpu', session.paths[-1], *more, f'--json={path}')
    session.run('step alone', words, SHARE * session.left())
    row = gpu_table.measured_step(session.names[-1], path, plan)
    if row is None:
        session.note('The step could not be measured; step_alone.log says why.')
    return row


def share(session: Session, row: dict | None, plans: list[dict | None]) -> tuple[int, list[float]]:
    """Steps of each training, 0 if there is no time, and the seconds of each.

    Args:
      session: with the time that is left.
      row: of the step alone; None if it could not be measured.
      plans: of the configs.
    """
    left, count = session.left(), len(plans)
    if row is None:
        session.note(
            f'The time of a step is unknown: each training has {UNMEASURED:,} steps, and an equal '
            'share of the time.'
        )
        return UNMEASURED, [left / count] * count
    paces = find_paces(row['ms'] / 1000, plans)
    overhead = START + row['compile_seconds']
    steps = count_steps(left, overhead, paces)
    if not steps:
        session.note(
            f'Nothing is trained: {left:.0f} s are left, and {LEAST} steps of each config take '
            f'{overhead * count + LEAST * sum(paces):.0f} s; give more --minutes.'
        )
    return steps, [overhead + steps * pace for pace in paces]


def train(session: Session, row: dict | None, plans: list[dict | None], device: dict) -> None:
    """Trains each config for as many steps as the time allows, and adds their rows."""
    steps, seconds = share(session, row, plans)
    runs = zip(session.names, session.paths, session.configs, plans) if steps else ()
    for place, (name, path, config, plan) in enumerate(runs):
        workdir = session.out / name
        words = session.module('mpl.train', path, f'--workdir={workdir}')
        words += gpu_table.shorten(config, steps)
        later = sum(seconds[place + 1 :])
        stage = session.run(f'train {name}', words, session.left() - later)
        done = gpu_table.trained(name, config, workdir, plan, device)
        session.results['rows'].append(done | {'seconds': stage.seconds})
        session.write()


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--minutes', type=float, default=10.0, help='of everything')
    parser.add_argument('--quickstart', type=float, default=120.0, help='seconds at most; 0: none')
    parser.add_argument('--configs', nargs='+', default=CONFIGS, help='trained; the last is timed')
    parser.add_argument('--seconds', type=float, default=10.0, help='of timing the step alone')
    parser.add_argument('--window', type=int, default=50, help='steps of the step alone, at a time')
    parser.add_argument('--out', type=command.local_path, default='benchmarks/out/gpu_session')
    parser.add_argument('--trial', action='store_true', help='also without a GPU')
    given, overrides = command.parse(parser)
    for name in ('minutes', 'seconds', 'window'):
        if getattr(given, name) <= 0:
            raise ValueError(f'--{name} is {getattr(given, name)}; give a number above 0.')
    jax.config.update('jax_platforms', 'cpu')  # Here; the stages use the GPU.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # Ends the stages too.
    out = Path(given.out)
    session = Session(list(given.configs), overrides, given.minutes, out)
    check(session)
    device = find_device()
    if device['platform'] != 'gpu' and not given.trial:
        raise ValueError(
            f'jax finds no GPU, but {device["kind"]}; install jax[cuda13] and a driver, or give --trial '
            'and small --configs.'
        )
    out.mkdir(parents=True, exist_ok=True)
    session.results['device'] = device
    plans = plan_and_quickstart(session, device, given.quickstart)
    row = measure_step(session, plans[-1], given.seconds, given.window)
    if row:
        session.results['rows'].append(row)
    train(session, row, plans, device)
    session.write()
    print(gpu_table.show(session.results['rows']))
    print(
        f'{device["count"]} x {device["kind"]}, {session.results["seconds"]:.0f} s; {out}/session.json'
    )
    print(
        'ms of the step alone are those of the compiled call; of a training, with batches and log lines, '
        'medians. Peak is the memory that a process took of a device, planned that of mpl.plan.'
    )
    for note in session.results['notes']:
        print(note)


def check(session: Session) -> None:
    """Refuses, before anything runs, configs whose data are not there and folders that are in use.

    Raises:
      ValueError: says what to prepare or remove.
    """
    read = []
    for name, config in zip(session.names, session.configs):
        if (session.out / name).exists():
            raise ValueError(
                f'{session.out / name} is there, of an earlier session; give another --out, or remove it.'
            )
        if config.source not in read:
            configs.build('data', config.source)
        read.append(config.source)


if __name__ == '__main__':
    command.main(main)
