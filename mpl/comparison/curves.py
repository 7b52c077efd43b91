"""How the runs of several configs learn, side by side: finished ones, and those under way."""

from pathlib import Path

from etils import epath
from matplotlib.figure import Figure

from mpl.run import figures, metrics, report


def draw(folders: dict[str, list[Path]]) -> Figure | None:
    """Accuracy over steps of every network, a color for each config, a line for each run.

    On validation where one of the runs has it, and otherwise on unlabeled images, whose labels
    are known but not trained on.

    Args:
      folders: the work directories of each config's runs, begun or not.

    Returns:
      The figure, or None where nothing was measured yet.

    Raises:
      ValueError: the metrics of a run are damaged, or some of a finished one are missing.
    """
    runs = {name: [_read(epath.Path(folder)) for folder in of] for name, of in folders.items()}
    everything = [line for of in runs.values() for lines in of for line in lines]
    for part in ('validation', 'unlabeled'):
        measured = figures.metric_names(everything, f'{part}/', '/accuracy')
        if measured:
            break
    else:
        return None
    networks = [name.split('/')[1] for name in measured]
    figure = Figure((4.5 * len(networks), 3.5), layout='constrained')
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks):
        for color, (name, of) in enumerate(runs.items()):
            name = f' {name}' if name.startswith('_') else name  # Which legends leave out.
            for lines in of:
                steps, values = figures.series(lines, f'{part}/{network}/accuracy')
                if steps:
                    axes.plot(steps, values, marker='.', color=f'C{color % 10}', label=name)
                    name = None  # One entry of the legend for all seeds.
        axes.set(xlabel='step', ylabel='accuracy', title=f'{network}, {part} images')
    return figures.add_legends(figure)


def _read(folder):
    """The lines of a run's metrics; none where it has not begun."""
    path = folder / 'metrics.jsonl'
    lines = metrics.read(path) if path.exists() else []
    if (folder / 'report.json').exists():
        written = report.read(folder)['metrics_lines']
        if len(lines) != written:
            raise ValueError(f'{path} has {len(lines)} lines; the run has written {written}.')
    return lines
