"""The page of a study of active learning: accuracy over bought labels, and which images were bought."""

from pathlib import Path

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mpl.cycles import acquired, figure, labels
from mpl.cycles import report as reports
from mpl.cycles import study as studies
from mpl.pages import charts, page
from mpl.pages.page import Section
from mpl.run import config as configs
from mpl.run import figures, records

IMAGES = 24  # thumbnails of a cycle
BOUGHT = 'images bought, validation included'


def is_study(workdir: Path) -> bool:
    """Whether a folder holds a study of active learning."""
    return (workdir / studies.FILE).exists()


def read(workdir: Path) -> dict:
    """The report of a finished study.

    Raises:
      ValueError: it is not finished, or its report is damaged.
    """
    path = workdir / f'{reports.NAME}.json'
    if not path.exists():
        raise ValueError(
            f'{workdir} holds a study that is not finished; run the command of mpl.active again.'
        )
    return records.read(epath.Path(path), 'the report of a study', 'delete it')


def read_config(workdir: Path) -> ConfigDict:
    """The config of a study."""
    path = epath.Path(workdir / studies.FILE)
    return configs.complete(records.read(path, 'the record of a study', 'restore it')['config'])


def render(workdir: Path) -> str:
    """The page of a study, from its report, its acquired images and its pool.

    Raises:
      ValueError: it is not finished, or its data are missing or have changed.
    """
    report = read(workdir)
    study = studies.make(read_config(workdir), epath.Path(workdir))
    studies.prepare(study)  # Refuses another pool.
    sections = [
        Section('Cycles', *_table(report)),
        Section('Accuracy and classes', charts=[*_accuracy(report), *_classes(report)]),
        *_pictures(study, report),
        _commands(workdir, report, study),
    ]
    return page.render(f'Study {workdir}', [reports.show(report)], _warnings(report), sections)


def _warnings(report: dict) -> list[str]:
    """What a reader has to know before the numbers."""
    found = []
    if report['oracle']:
        found.append(
            'The rule saw the true labels of the pool: an oracle for comparison, which nobody has.'
        )
    if missing := [name for name, count in report['cycles'][-1]['classes'].items() if not count]:
        found.append(f'No image of {", ".join(missing)} was bought.')
    return found


def _table(report):
    """Text, header and rows: a row per cycle."""
    parts = [part for part in reports.PARTS if part in report['cycles'][-1]['accuracy']]
    header = ['cycle', 'bought', 'labeled', 'validation', 'skipped', 'network']
    header += [f'{part} accuracy (%)' for part in parts] + ['training (s)', 'selection (s)']
    rows = []
    for row in report['cycles']:
        accuracies = [f'{100 * row["accuracy"][part]:.2f}' for part in parts]
        counts = [
            f'{row[key]:,}' for key in ('cycle', 'bought', 'labeled', 'validation', 'skipped')
        ]
        seconds = [f'{row[key]:.1f}' for key in ('train_seconds', 'select_seconds')]
        rows.append([*counts, row['network'], *accuracies, *seconds])
    return f'Trained {report["training"]}; seed {report["seed"]}.', header, rows


def _accuracy(report):
    """Accuracy over bought images."""
    title, curves = 'Accuracy over images bought', figure.curves(report)
    return [charts.lines(title, curves, 'accuracy (%)', x=BOUGHT)] if curves else []


def _classes(report):
    """Shares of the classes among all bought images and in the pool, and new ones by cycle."""
    order, percents = figure.class_shares(report)
    shown = [figures.legible(name) for name in order]
    groups = [(title, shown, percent) for title, percent in percents.items()]
    cycles = [str(row['cycle']) for row in report['cycles']]
    stacks = [
        (label, cycles, np.diff([row['classes'][name] for row in report['cycles']], prepend=0))
        for name, label in zip(order, shown)
    ]
    return [
        charts.bars('Share of each class', 'class', 'share (%)', groups),
        charts.bars('New labels by cycle', 'cycle', 'images', stacks, stacked=True),
    ]


def _pictures(study, report):
    """The first images that each cycle bought, in the order of choice."""
    numbers, sections = np.zeros(0, np.int64), []
    for row in report['cycles']:
        path = study.folder(row['cycle']) / acquired.FILE
        record = records.read(path, 'a record of acquired images', 'restore it')
        chosen = np.array(record['numbers'], np.int64)
        numbers = np.union1d(numbers, chosen)
        source = labels.answer(study, row['cycle'], numbers).source
        title, image = f'Bought for cycle {row["cycle"]}', source.train.read(chosen[:IMAGES])
        if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
            return [Section('Bought images', 'The examples are not pictures and are not shown.')]
        shown = [
            page.Image(
                pixels,
                figures.legible(str(source.train.name[number])),
                f'{rank}: {_class(source, number)}',
            )
            for rank, (number, pixels) in enumerate(zip(chosen, image), 1)
        ]
        text = f'The first {len(shown)} of {len(chosen):,}, in the order of choice.'
        sections.append(Section(title, text, images=shown))
    return sections


def _class(source, number):
    label = source.train.label[number]
    return figures.legible(source.classes[label]) if label >= 0 else acquired.SKIPPED


def _commands(workdir, report, study):
    """The commands and the config."""
    last = study.folder(report['cycles'][-1]['cycle'])
    text = (
        f'This page: python -m mpl.report --workdir={workdir}. A page of the last run: python -m '
        f'mpl.report --workdir={last}. The config below holds every value of the study, defaults '
        'included.'
    )
    folded = [('config', configs.to_json(study.config))]
    return Section('Config and commands', text, code=folded)
