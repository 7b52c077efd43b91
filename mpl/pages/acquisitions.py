"""The page of a comparison of rules that choose the images to label."""

import csv
from pathlib import Path

from mpl.comparison import acquisition_tables, acquisitions, studies, table
from mpl.comparison.acquisitions import Curve
from mpl.comparison.studies import RANDOM
from mpl.pages import charts, page, study
from mpl.pages.page import Section
from mpl.run import config as configs

FILE = acquisition_tables.FILES[1]


def is_comparison(workdir: Path) -> bool:
    """Whether a folder holds the table of a comparison of studies."""
    return (workdir / FILE).exists()


def render(workdir: Path) -> str:
    """The page of a comparison of studies, from active.csv and the reports of its studies.

    Raises:
      ValueError: a study of the table is missing or damaged.
    """
    found = read(workdir)
    named = {name: study.read_config(next(iter(seeds.values()))) for name, seeds in found.items()}
    reports = {
        name: {seed: study.read(folder) for seed, folder in seeds.items()}
        for name, seeds in found.items()
    }
    rules = {name: studies.rule_name(config) for name, config in named.items()}
    curves = acquisitions.gather(reports, studies.learners(named), rules)
    learners = list(dict.fromkeys(curve.learner for curve in curves))
    sections = []
    for learner in learners:
        chosen = [curve for curve in curves if curve.learner == learner]
        sections += [
            Section(f'Results of {learner}', text, header, rows)
            for text, header, rows in acquisition_tables.tables(chosen)
        ]
        sections.append(Section(f'Curves of {learner}', charts=_charts(chosen)))
    folded = [(name, configs.to_json(config)) for name, config in named.items()]
    first = next(iter(next(iter(found.values())).values()))
    text = (
        f'This page: python -m mpl.report --workdir={workdir}. A page of a study: python -m '
        f'mpl.report --workdir={first}. The configs below are those of the first seed, defaults '
        'included.'
    )
    sections.append(Section('Configs and commands', text, code=folded))
    lead = [f'Rules {", ".join(dict.fromkeys(rules.values()))} with {", ".join(learners)}.']
    return page.render(f'Comparison {workdir}', lead, [], sections)


def read(workdir: Path) -> dict[str, dict[int, Path]]:
    """The folders of the studies in the table, by config and seed.

    Raises:
      ValueError: the table is of an earlier version.
    """
    found = {}
    with open(workdir / FILE, newline='', encoding='utf-8') as file:
        for row in csv.DictReader(file):
            if 'config' not in row:
                raise ValueError(
                    f'{workdir / FILE} has no column config; run the command of the comparison '
                    'again, which writes it.'
                )
            name, seed = row['config'], int(row['seed'])
            found.setdefault(name, {})[seed] = workdir / name / row['seed']
    return found


def _charts(curves: list[Curve]) -> list[dict]:
    """Mean accuracy over bought images, and the mean difference to random of the same seed."""
    means = [(c.rule, c.bought, c.accuracy.mean(0)) for c in curves]
    drawn = [charts.lines('Mean accuracy', means, 'accuracy (%)', x=study.BOUGHT)]
    paired = [c for c in curves if c.rule != RANDOM and len(c.area_difference)]
    if paired:
        chart = charts.lines(
            'Minus random of the same seed: mean, 95 % interval',
            [(c.rule, c.bought, c.difference.mean(0)) for c in paired],
            'points',
            colors=[curves.index(c) for c in paired],
            x=study.BOUGHT,
        )
        for trace, c in zip(chart['data'], paired):
            if len(c.difference) > 1:
                errors = [table.interval(column) for column in c.difference.T]
                trace['error_y'] = {'type': 'data', 'array': errors}
        drawn.append(chart)
    return drawn
