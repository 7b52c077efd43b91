"""What benchmarks/gpu_session.py has measured: a row for the step alone and for each training."""

import json
import statistics
from pathlib import Path
from types import SimpleNamespace

from etils import epath
from ml_collections import ConfigDict
from tabulate import tabulate

from benchmarks import gpu
from mpl.planning import chips
from mpl.run import metrics, report

SECTIONS = ('networks', 'algorithm')  # with hyperparameters in steps: warmup_steps, ramp_steps


def shorten(config: ConfigDict, steps: int) -> list[str]:
    """Overrides for a run of so many steps, a multiple of 200, without fine-tuning.

    Hyperparameters in steps (`..._steps`) keep their share of the run. Log lines after every 50 steps,
    four evaluations, one checkpoint at the end.
    """

    def scale(where, part):
        for key, value in part.items():
            if isinstance(value, dict):
                yield from scale(f'{where}.{key}', value)
            elif key.endswith('_steps') and value:
                yield f'{where}.{key}', max(1, round(value * steps / config.steps))

    given = config.to_dict()
    changed = {'steps': steps, 'finetune.steps': 0, 'every.log': 50}
    changed |= {'every.evaluate': steps // 4, 'every.save': steps}
    for section in SECTIONS:
        changed |= dict(scale(section, given[section]))
    return [f'--config.{key}={value}' for key, value in changed.items()]


def read_json(path: Path) -> dict | None:
    """A JSON file; None if there is none."""
    return json.loads(path.read_text(encoding='utf-8')) if path.exists() else None


def measured_step(what: str, path: Path, plan: dict | None) -> dict | None:
    """The row of a step alone, from the JSON of benchmarks.gpu; None if there is none."""
    found = read_json(path)
    if found is None or not found['rows']:
        return None
    row = found['rows'][0]
    return {
        'what': f'{what}, step alone',
        'steps': None,
        'finished': None,
        'ms': row['compiled_ms']['median'],
        'images_per_second': 1000 * sum(images(row['batch'])) / row['compiled_ms']['median'],
        'share_of_peak': row['share_of_peak'],
        'device_peak_bytes': row['device_peak_bytes'],
        'planned_bytes': plan and plan['memory']['peak'],
        'part': None,
        'accuracy': {},
        'compile_seconds': row['trace_seconds'] + row['compile_seconds'],
    }


def images(batch: dict) -> tuple[int, int]:
    """Labeled and unlabeled images of a step."""
    return batch['labeled'], batch['unlabeled']


def trained(what: str, config: ConfigDict, workdir: Path, plan: dict | None, device: dict) -> dict:
    """The row of a training, finished or stopped.

    Args:
      what: its name.
      config: of the run.
      workdir: of the run.
      plan: its plan for that device, from mpl.plan; None without.
      device: kind and count.
    """
    path = workdir / 'metrics.jsonl'
    lines = metrics.read(epath.Path(path)) if path.exists() else []
    logged = [(line['step'], line['seconds']) for line in lines if 'seconds' in line]
    pace = [(t - s) / (b - a) for (a, s), (b, t) in zip(logged, logged[1:])]
    seconds = statistics.median(pace) if pace else None
    finished = report.read(epath.Path(workdir)) if (workdir / 'report.json').exists() else None
    part, accuracy = _accuracy(finished, lines)
    model = config.networks.student.model
    dtype = model.dtype if 'dtype' in model else None
    peak = gpu.find_peak(SimpleNamespace(device_kind=device['kind']), dtype)
    is_known = bool(seconds and peak and plan)
    return {
        'what': what,
        'steps': logged[-1][0] if logged else 0,
        'finished': finished is not None,
        'ms': seconds and 1000 * seconds,
        'images_per_second': sum(images(config.batch)) / seconds if seconds else None,
        # FLOPs of a plan are those of one device.
        'share_of_peak': plan['flops']['layers'] / seconds / peak if is_known else None,
        'device_peak_bytes': finished and finished['peak_device_memory_bytes'],
        'planned_bytes': plan and plan['memory']['peak'],
        'part': part,
        'accuracy': accuracy,
        'compile_seconds': None,
    }


def _accuracy(finished, lines):
    """Part of the data and accuracy by network: of the report, or of the last evaluation."""
    if finished:
        networks = finished['networks']
        part = 'test' if all('test' in net for net in networks.values()) else 'validation'
        return part, {name: net[part]['accuracy'] for name, net in networks.items() if part in net}
    measured = [
        {key.split('/')[1]: line[key] for key in line if key.startswith('validation/')
         and key.endswith('/accuracy')}
        for line in lines
    ]  # fmt: skip
    measured = [each for each in measured if each]
    return ('validation', measured[-1]) if measured else (None, {})


def show(rows: list[dict]) -> str:
    """The rows as a table."""

    def text(value, form, unit=1.0):
        return '-' if value is None else f'{value / unit:{form}}'

    headers = [
        'what', 'steps', 'ms/step', 'images/s', 'of peak (%)', 'peak GiB', 'planned GiB',
        'accuracy (%)',
    ]  # fmt: skip
    lines = []
    for row in rows:
        accuracy = ', '.join(f'{name} {100 * value:.2f}' for name, value in row['accuracy'].items())
        lines.append(
            [
                row['what'],
                '-'
                if row['steps'] is None
                else f'{row["steps"]:,}{"" if row["finished"] else ", stopped"}',
                text(row['ms'], '.4g'),
                text(row['images_per_second'], ',.0f'),
                text(row['share_of_peak'], '.1f', 0.01),
                text(row['device_peak_bytes'], ',.2f', chips.GIB),
                text(row['planned_bytes'], ',.2f', chips.GIB),
                f'{row["part"]}: {accuracy}' if accuracy else '-',
            ]
        )
    align = ['left'] + ['right'] * (len(headers) - 2) + ['left']
    return tabulate(lines, headers, colalign=align, disable_numparse=True)
