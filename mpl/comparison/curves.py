"""Learning curves of the runs of several configs, finished or not, in one figure."""

from pathlib import Path

from etils import epath
from matplotlib.figure import Figure

from mpl.run import figures, report


def draw(folders: dict[str, list[Path]]) -> Figure | None:
    """Accuracy over steps of every network: a color per config, a line per run.

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
    figure = Figure((4.5 * len(networks), 3.5), layout='constrained')
    for axes, network in zip(figure.subplots(1, len(networks), squeeze=False)[0], networks):
        for color, (name, of_config) in enumerate(runs.items()):
            name = f' {name}' if name.startswith('_') else name  # Legends skip names with _.
            for lines in of_config:
                steps, values = figures.series(lines, f'{part}/{network}/accuracy')
                if steps:
                    axes.plot(steps, values, marker='.', color=f'C{color % 10}', label=name)
                    name = None  # One legend entry for all seeds.
        axes.set(xlabel='step', ylabel='accuracy', title=f'{network}, {part} images')
    return figures.add_legends(figure)
