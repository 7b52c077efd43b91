"""The step of the released recipe on an accelerator: python -m benchmarks.gpu

MPL with exact feedback, WRN-28-2, 128 labeled and 896 unlabeled images of 32x32, bfloat16, ten
steps in one call; and how its time changes with the policy of the strong views, the precision and
the number of steps in a call: one row for each change, in a process of its own. The pictures are
made up; --config=configs/... takes a config in their place, --config.x=y changes a number. Share of
peak: FLOPs of the convolutions and linear layers alone, by benchmarks/flops.py, per second of the
compiled call, over the rate of dense products of that type (below; of TPUs mpl/planning/chips.py). `loop` is a real
run of mpl.train, with its batches and log lines. On a CPU it is tried at tiny size, with
--config=configs/smoke.py --dtypes --policies --seconds=0.5 --window=10. --trace=DIR also writes a
profile of two calls of the first row, for `tensorboard --logdir=DIR` with the plugin xprof, or for
ui.perfetto.dev.
"""

import concurrent.futures
import json
import multiprocessing
import re
import sys
import tempfile
import time
from pathlib import Path

import jax
from etils import epath
from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import step_time
from mpl.data import batches
from mpl.planning import chips
from mpl.run import command, loop, records
from mpl.run import config as configs
from mpl.run import experiment as experiments

# Dense bfloat16 and float32 TFLOP/s of a GPU, from NVIDIA's data sheets; float32 as jax multiplies it
# by default, which is TF32. Those of TPUs are in mpl/planning/chips.py.
PEAKS = {
    r'NVIDIA B200': (2250, 1125),
    r'A100': (312, 156),
    r'H100 PCIe': (756, 378),
    r'H100 NVL': (835, 417.5),
    r'H100|H200|GH200': (989.4, 494.7),
    r'NVIDIA L4$': (121, 60),
    r'NVIDIA L40S': (362, 183),
}


def find_peak(device: jax.Device, dtype: str | None) -> float | None:
    """FLOP/s that a device promises; None where it is not known."""
    for pattern, (narrow, wide) in PEAKS.items():
        if re.search(pattern, device.device_kind):
            return 1e12 * (narrow if dtype == 'bfloat16' else wide)
    chip = chips.find(device)
    return chip.flops if chip else None


def made_up(pictures: str, labeled: int, depth: int, width: int) -> dict:
    """The form of CIFAR-10 with 4,000 labels, on the pictures in a folder."""
    config = step_time.wide_resnet('mpl exact', pictures, labeled).to_dict()
    for network in config['networks'].values():
        network['model'] |= {'depth': depth, 'width': width, 'dtype': 'bfloat16'}
    return config | {'steps_per_call': 10, 'split': {'labels': 400}}


def endless(config: dict, window: int) -> ConfigDict:
    """The config with a log line for each window of steps, and nothing else but steps."""
    size, far = config['steps_per_call'], step_time.STEPS
    log = size * max(1, round(window / size))
    return configs.complete(
        config
        | {'steps': log * (far // log)}
        | {'every': config['every'] | {'log': log, 'evaluate': far, 'save': far}}
    )


def vary(base: dict, policies: list[str], dtypes: list[str], calls: list[int]) -> dict[str, dict]:
    """The base, and the configs in which one thing differs from it, by what differs."""
    rows, given = {'as given': base}, base['views'].get('strong') or {'name': 'none'}
    for policy in policies:
        strong = None if policy == 'none' else {'name': policy}
        if policy != given['name']:
            rows[f'policy {policy}'] = base | {'views': base['views'] | {'strong': strong}}
    for dtype in dtypes:
        networks = {
            role: net | {'model': net['model'] | {'dtype': None if dtype == 'float32' else dtype}}
            for role, net in base['networks'].items()
        }
        if networks != base['networks']:
            rows[dtype] = base | {'networks': networks}
    for size in calls:
        if size != base['steps_per_call']:
            rows[f'{size} in a call'] = base | {'steps_per_call': size}
    return rows


def work(config: dict, seconds: float, window: int) -> dict:
    """A row, in a process of its own."""
    config = endless(config, window)
    row = step_time.measure(config, seconds)
    device, count = jax.devices()[0], jax.device_count()
    model = config.networks.student.model
    peak = find_peak(device, model.dtype if 'dtype' in model else None)
    rate = row['flops_by_layers'] and 1000 * row['flops_by_layers'] / row['compiled_ms']['median']
    return row | {
        'devices': f'{count} x {device.device_kind}',
        'flops_per_second': rate,
        'share_of_peak': rate / peak / count if rate and peak else None,
        'device_peak_bytes': (device.memory_stats() or {}).get('peak_bytes_in_use'),
    }


def trace(config: dict, folder: str, window: int) -> None:
    """Writes a profile of two calls, in a process of its own."""
    experiment = experiments.assemble(endless(config, window))
    size, root = experiment.config.steps_per_call, jax.random.key(0)
    steps, resident = loop.make_steps(experiment), batches.resident(experiment.pipeline)
    fetch, state = batches.make_fetch(experiment.pipeline, size), experiments.initialize(experiment)
    state, _ = steps(state, resident, fetch(0), root)
    jax.block_until_ready(state)
    with jax.profiler.trace(folder):
        for call in (1, 2):
            with jax.profiler.StepTraceAnnotation('call', step_num=call):
                state, _ = steps(state, resident, fetch(call * size), root)
                jax.block_until_ready(state)


def show(rows: list[dict]) -> str:
    """The rows as a table."""
    headers = [
        'what differs', 'batch', 'steps/call', 'compiled ms', 'loop ms', 'loop/compiled',
        'images/s', 'TFLOP/s', 'of peak (%)', 'peak MiB', 'program MiB', 'compile s',
    ]  # fmt: skip
    lines = [
        [
            row['what'],
            f'{row["batch"]["labeled"]}+{row["batch"]["unlabeled"]}',
            row['steps_per_call'],
            *(
                f'{ms["median"]:.4g} ({ms["low"]:.4g}..{ms["high"]:.4g})'
                for ms in (row['compiled_ms'], row['loop_ms'])
            ),
            f'{1 / (1 - row["share_outside"]):.3f}',
            f'{row["images_per_second"]:,.0f}',
            f'{row["flops_per_second"] / 1e12:.3g}' if row['flops_per_second'] else '-',
            f'{100 * row["share_of_peak"]:.1f}' if row['share_of_peak'] else 'unknown',
            f'{(row["device_peak_bytes"] or row["resident_bytes"]) / 2**20:,.0f}',
            f'{row["program_bytes"] / 2**20:,.0f}',
            f'{row["compile_seconds"]:.0f}',
        ]
        for row in rows
    ]
    align = ['left', 'left'] + ['right'] * (len(headers) - 2)
    return tabulate(lines, headers, colalign=align, disable_numparse=True)


def main() -> None:
    parser = command.parser(__doc__)
    parser.add_argument('--json', type=Path, default=Path('benchmarks/out/gpu.json'))
    parser.add_argument('--config', help='in place of the made-up pictures')
    parser.add_argument('--labeled', type=int, default=128, help='without --config, of 1 to 7')
    parser.add_argument('--depth', type=int, default=28, help='without --config')
    parser.add_argument('--width', type=int, default=2, help='without --config')
    parser.add_argument('--policies', nargs='*', default=['none', 'randaugment'])
    parser.add_argument('--dtypes', nargs='*', default=['bfloat16', 'float32'])
    parser.add_argument('--calls', nargs='*', type=int, default=[1, 10, 50], help='steps in a call')
    parser.add_argument('--seconds', type=float, default=10.0, help='of measuring, per row')
    parser.add_argument('--window', type=int, default=50, help='steps between two log lines')
    parser.add_argument('--trace', help='folder for a profile of the first row')
    given, overrides = command.parse(parser)
    if overrides and not given.config:
        parser.error(f'{overrides[0]} has no config to change; give --config too.')
    given.json.parent.mkdir(parents=True, exist_ok=True)
    machine, rows = step_time.describe_machine(), []
    with (
        tempfile.TemporaryDirectory() as folder,
        concurrent.futures.ProcessPoolExecutor(
            1, multiprocessing.get_context('spawn'), max_tasks_per_child=1
        ) as executor,
    ):
        if given.config:
            base = configs.load(given.config, overrides).to_dict()
        else:
            step_time.draw_pictures(Path(folder))
            base = made_up(folder, given.labeled, given.depth, given.width)
        varied = vary(base, given.policies, given.dtypes, given.calls)
        for what, config in varied.items():
            started = time.monotonic()
            row = executor.submit(work, config, given.seconds, given.window).result()
            rows.append({'what': what} | row)
            text = json.dumps({'machine': machine, 'rows': rows}, indent=2)
            records.write_utf8(epath.Path(given.json), text + '\n')
            print(f'{what}: {time.monotonic() - started:.0f} s', file=sys.stderr)
        if given.trace:
            executor.submit(trace, base, given.trace, given.window).result()
    print(show(rows))
    print(', '.join(f'{name} {value}' for name, value in machine.items()), rows[0]['devices'])
    print(
        'ms are per step, median (quartiles) over windows; images are labeled plus unlabeled ones, '
        'in the loop; peak MiB that of the device, or where it does not tell, of the process.'
    )


if __name__ == '__main__':
    command.main(main)
