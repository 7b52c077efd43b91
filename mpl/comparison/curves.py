"""Learning curves of the runs of several configs, finished or not, in one figure."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
from etils import epath
from matplotlib.figure import Figure

from mpl.comparison import plots
from mpl.run import figures, report, schema


def draw(folders: dict[str, list[Path]]) -> Figure | None:
    """Accuracy of every network over steps, minutes and FLOPs: a color per config, a line per run.

    Minutes and FLOPs begin with those of the stages that were trained before the run. FLOPs of training
    are known of finished runs; without one there is no row of them.

    On validation if any run has it, else on unlabeled images whose labels are known but not
    trained on.

    Args:
      folders: the work directories of each config's runs, which need not exist.

    Returns:
      The figure, or None if there is no evaluation yet.

    Raises:
      ValueError: the metrics of a run are damaged, or lines of a finished run are missing.
    """
    runs = {
        name: [report.read_metrics(epath.Path(folder)) for folder in of_config]
        for name, of_config in folders.items()
    }
    all_lines = [line for of_config in runs.values() for lines in of_config for line in lines]
    for part in ('validation', 'unlabeled'):
        measured = figures.metric_names(all_lines, f'{part}/', '/accuracy')
        if measured:
            break
    else:
        return None
    networks = [name.split('/')[1] for name in measured]
    costs = {
        name: [_costs(epath.Path(folder)) for folder in of_config]
        for name, of_config in folders.items()
    }
    units = ['step', 'minutes'] + ['FLOPs'] * any(c.of_step for of in costs.values() for c in of)
    figure = Figure((4.5 * len(networks), 3.5 * len(units)), layout='constrained')
    labels = plots.distinct(list(runs))
    for unit, row in zip(units, figure.subplots(len(units), len(networks), squeeze=False)):
        for axes, network in zip(row, networks):
            for color, (name, of_config) in enumerate(runs.items()):
                label = _shown(labels[name])
                for lines, each in zip(of_config, costs[name]):
                    steps, values = figures.series(lines, f'{part}/{network}/accuracy')
                    places = _convert(steps, lines, unit, each)
                    if places:
                        axes.plot(places, values, marker='.', color=f'C{color % 10}', label=label)
                        label = None  # One legend entry for all seeds.
            axes.set(xlabel=unit, ylabel='accuracy', title=f'{network}, {part} images')
    named = {
        label: line
        for axes in figure.axes
        for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    order = [label for label in map(_shown, labels.values()) if label in named]
    figure.legend([named[label] for label in order], order, loc='outside lower left', frameon=False)
    return figure


def _shown(name):
    return f' {name}' if name.startswith('_') else name  # Legends skip names with _.


class _Costs(NamedTuple):
    """FLOPs are 0 where a report is missing, or from before they were counted."""

    of_step: int  # FLOPs
    seconds: float  # of the stages before the run
    flops: int


def _costs(folder):
    before = [_report(folder / name) for name in schema.STAGES.values()]
    return _Costs(
        _report(folder)['flops']['step'],
        sum(one['seconds'] for one in before),
        sum(one['flops']['run'] for one in before),
    )


def _report(folder):
    none = {'seconds': 0.0, 'flops': {'step': 0, 'run': 0}}
    return none | (report.read(folder) if (folder / 'report.json').exists() else {})


def _convert(steps, lines, unit, costs):
    """Steps in another unit; empty if it is not known for this run."""
    if unit == 'step':
        return steps
    if unit == 'FLOPs':
        return [costs.flops + step * costs.of_step for step in steps] if costs.of_step else []
    logged, seconds = figures.series(lines, 'seconds')
    if not logged:
        return []
    return ((costs.seconds + np.interp(steps, logged, seconds)) / 60).tolist()
