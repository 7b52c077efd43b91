"""Tables and picture of the two-moons experiment."""

import json
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from scipy import stats
from tabulate import tabulate

ACROSS, UP = np.meshgrid(np.linspace(-1.6, 2.6, 85), np.linspace(-1.1, 1.6, 55))
GRID = np.stack([ACROSS, UP], -1).astype(np.float32)  # where the decision is drawn
SEPARATED = 0.98  # accuracy above which the moons count as told apart
TITLES = {
    'paper': "The paper's setting",
    'found': 'The best setting found for each method',
    'added': 'What the feedback adds to consistency',
}


def write(results: dict, moons, seeds: range, out: Path) -> None:
    """Writes two_moons.json, two_moons.md and two_moons.png, and prints the tables.

    results: {(table, method): {network: (accuracy [S], probability of class 1 [S, G])}}.
    moons: the points of the S seeds.
    """
    record, text = {'seeds': [seeds.start, seeds.stop]}, ''
    for table, title in TITLES.items():
        chosen = {method: nets for (t, method), nets in results.items() if t == table}
        if not chosen:
            continue
        off = chosen['mpl off']['student'][0] if table == 'added' and 'mpl off' in chosen else None
        rows = [row(method, nets, off) for method, nets in chosen.items()]
        text += f'### {title}\n\n{tabulate(rows, headers="keys", tablefmt="github")}\n\n'
        record[table] = {
            method: {name: net[0].round(4).tolist() for name, net in nets.items()}
            for method, nets in chosen.items()
        }
    print('\n' + text)
    (out / 'two_moons.md').write_text(text, encoding='utf-8')
    (out / 'two_moons.json').write_text(json.dumps(record) + '\n', encoding='utf-8')
    picture(results, moons, seeds).savefig(out / 'two_moons.png', dpi=80)


def row(method: str, nets: dict, off: np.ndarray | None) -> dict[str, str]:
    """One line: accuracies in percent over seeds, with 95 % intervals (Wilson's for a rate).

    off: [S], the accuracy of the same seeds without feedback, to take differences from.
    """
    student = nets['student'][0]
    right = int(np.sum(student > SEPARATED))
    low, high = stats.binomtest(right, len(student)).proportion_ci(method='wilson')
    cells = {
        'method': method,
        'success': f'{100 * right / len(student):.0f} [{100 * low:.0f}, {100 * high:.0f}]',
        'mean ± deviation': f'{100 * student.mean():.1f} ± {100 * student.std(ddof=1):.1f}',
        'interval of the mean': '[{:.1f}, {:.1f}]'.format(*interval(student)),
        'median': f'{100 * np.median(student):.1f}',
        'teacher mean': f'{100 * nets["teacher"][0].mean():.1f}' if 'teacher' in nets else '',
    }
    if off is not None:
        difference = student - off
        ends = '[{:+.1f}, {:+.1f}]'.format(*interval(difference))
        cells['minus off, by seed'] = f'{100 * difference.mean():+.1f} {ends}'
    return cells


def interval(values: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean, in percent."""
    half = 1.96 * values.std(ddof=1) / len(values) ** 0.5
    return 100 * (values.mean() - half), 100 * (values.mean() + half)


def picture(results: dict, moons, seeds: range) -> Figure:
    """The student of the seed with the median accuracy, for each method and table."""
    methods = list(dict.fromkeys(method for _, method in results))
    tables = list(dict.fromkeys(table for table, _ in results))
    figure = Figure((1.8 * len(methods), 1.5 * len(tables)), layout='constrained')
    grid = figure.subplots(len(tables), len(methods), squeeze=False)
    for line, table in zip(grid, tables):
        for axes, method in zip(line, methods):
            axes.set(xticks=[], yticks=[])
            if (table, method) in results:
                accuracy, probability = results[table, method]['student']
                typical = int(np.argsort(accuracy, kind='stable')[len(accuracy) // 2])
                _decision(axes, probability[typical], moons, typical)
                axes.set_title(
                    f'{method}\n{100 * accuracy[typical]:.1f} %, seed {seeds[typical]}', fontsize=8
                )
            else:
                axes.spines[:].set_visible(False)
        line[0].set_ylabel(table)
    return figure


def _decision(axes, probability, moons, seed):
    """Points colored by their class, over the classes as the network tells them apart."""
    point = moons.image[seed].reshape(-1, 2)
    labeled = moons.labeled[seed]
    axes.contourf(
        ACROSS, UP, probability.reshape(ACROSS.shape), [0, 0.5, 1], colors=['#dbe7f5', '#f9e3d3']
    )
    for number, color in enumerate(('#2b6cb0', '#c05621')):
        axes.scatter(*point[moons.label[seed] == number][::5].T, s=1, color=color)
        axes.scatter(
            *point[labeled[moons.label[seed][labeled] == number]].T,
            s=28,
            marker='*',
            color=color,
            edgecolor='black',
            linewidth=0.6,
        )
