"""The report of a study: active.json, active.csv and active.png."""

import csv
import io
from typing import NamedTuple

import numpy as np
from absl import logging

from mpl.cycles import acquired, figure
from mpl.cycles.labels import Answered
from mpl.cycles.study import Study
from mpl.data.splits import Split
from mpl.run import figures, measure, records

NAME = 'active'
PARTS = ('validation', 'test')
SETTLED = (
    ' The last cycles raised the accuracy on validation by no more than its standard error, so the study ended '
    '(active.patience).'
)
COLUMNS = (
    'cycle', 'bought', 'labeled', 'validation', 'skipped', 'network', 'test', 'validation_accuracy',
    'train_seconds', 'select_seconds',
)  # fmt: skip


class Cycle(NamedTuple):
    """What is known of a finished cycle."""

    record: dict  # of the acquired images
    report: dict  # of the run
    split: Split
    answered: Answered


def write(study: Study, cycles: list[Cycle]) -> dict:
    """Writes the three files and returns the content of active.json, JSON-serializable.

    `settled`: whether the study ended by active.patience, see `has_settled`.

    `bought` counts labeled, skipped and validation images: all that somebody had to look at.
    Accuracies are fractions, of the network that chooses, in all and by true class; `area` is the
    normalized area under the curve of accuracy over `bought`, see `area`.
    """
    config = study.config
    rows = [_row(cycle) for cycle in cycles]
    part = 'test' if 'test' in rows[-1]['accuracy'] else 'validation'
    curve = [row['accuracy'][part] for row in rows] if part in rows[-1]['accuracy'] else []
    report = {
        'rule': config.active.rule.to_dict(),
        'logits': config.active.logits,
        'oracle': config.active.logits == 'labels',
        'algorithm': config.algorithm.name,
        'seed': config.seed,
        'start_from': config.active.start_from,
        'training': 'from the student of the cycle before' if config.active.warm_start else
        'from scratch in every cycle',
        'part': part,
        'area': area([row['bought'] for row in rows], curve) if curve else None,
        'pool': None if study.asks else acquired.count_classes(
            study, np.union1d(study.labeled, study.candidates)
        ),
        'settled': has_settled(study, cycles),
        'cycles': rows,
    }  # fmt: skip
    with io.StringIO(newline='') as file:
        lines = csv.writer(file)
        classes = list(rows[-1]['classes'])
        lines.writerow([*COLUMNS, *(f'bought {name}' for name in classes)])
        for row in rows:
            found = {
                part: row['accuracy'][part] if part in row['accuracy'] else '' for part in PARTS
            }
            flat = row | {'test': found['test'], 'validation_accuracy': found['validation']}
            lines.writerow([flat[key] for key in COLUMNS] + [row['classes'][k] for k in classes])
        records.write_utf8(study.workdir / f'{NAME}.csv', file.getvalue())
    try:
        figures.save(figure.draw(report), study.workdir / f'{NAME}.png')
    except Exception as error:  # A failed figure must not end a finished study.
        logging.warning('The figure could not be drawn: %r', error)
    records.write(study.workdir / f'{NAME}.json', report)  # Last: it marks a finished study.
    return report


def has_settled(study: Study, cycles: list[Cycle]) -> bool:
    """Whether more labels have not paid in the last `active.patience` cycles; False with a patience of 0.

    They have not if the accuracy on validation rose by no more than the standard error of the difference
    of two binomials in each of these cycles. The images are the same, so the error is overestimated.
    """
    patience = study.config.active.patience
    if not patience or len(cycles) <= patience:
        return False
    label = (
        study.source.train.label[study.validation]
        if len(study.validation)
        else study.source.validation.label
    )
    held = np.sum(label >= 0)
    accuracy = np.array([_row(one)['accuracy']['validation'] for one in cycles[-patience - 1 :]])
    variance = accuracy * (1 - accuracy) / held
    return bool(np.all(np.diff(accuracy) <= np.sqrt(variance[1:] + variance[:-1])))


def area(bought: list[int], accuracy: list[float]) -> float:
    """The area under accuracy over labels by the trapezoid rule, divided by the range of labels.

    A mean accuracy: of one point, and of a constant curve, it is that accuracy.
    """
    width = bought[-1] - bought[0]
    return float(np.trapezoid(accuracy, bought) / width) if width else float(np.mean(accuracy))


def describe(study: Study, cycle: Cycle) -> str:
    """A log line."""
    row = _row(cycle)
    shown = ', '.join(f'{part} {100 * a:.2f} %' for part, a in row['accuracy'].items())
    return (
        f'cycle {row["cycle"]}: {row["labeled"]} labels ({row["bought"]} images bought), '
        f'{row["network"]}: {shown or "no accuracy"}; {row["train_seconds"]:.0f} s of training, '
        f'{row["select_seconds"]:.1f} s of selection'
    )


def show(report: dict) -> str:
    """The report as text."""
    last = report['cycles'][-1]
    missing = [name for name, count in last['classes'].items() if not count]
    area = '-' if report['area'] is None else f'{100 * report["area"]:.2f} %'
    return (
        f'{report["rule"]["name"]}{" (oracle)" if report["oracle"] else ""}, '
        f'{report["algorithm"]} {report["training"]}, seed {report["seed"]}: mean '
        f'{report["part"]} accuracy over {report["cycles"][0]["bought"]} to {last["bought"]} bought '
        f'images {area}.'
        + (f' No image of {", ".join(missing)} was bought.' if missing else '')
        + (SETTLED if 'settled' in report and report['settled'] else '')  # Older reports lack it.
    )


def _row(cycle):
    record, report, split, answered = cycle
    network = measure.result(report['networks'])
    measured = report['networks'][network]
    labels = answered.source.train.label[split.labeled]
    validation = report['split']['validation']
    return {
        'cycle': record['cycle'],
        'bought': len(split.labeled) + len(answered.skipped) + validation,
        'labeled': len(split.labeled),
        'validation': validation,
        'skipped': len(answered.skipped),
        'network': network,
        'accuracy': {part: measured[part]['accuracy'] for part in PARTS if part in measured},
        'accuracy_by_class': {
            part: dict(zip(answered.source.classes, measured[part]['accuracy_by_class']))
            for part in PARTS
            if part in measured and 'accuracy_by_class' in measured[part]  # Older versions lack it.
        },
        'classes': {
            name: int(np.sum(labels == k)) for k, name in enumerate(answered.source.classes)
        },
        'train_seconds': report['seconds'],
        'select_seconds': record['seconds'],
    }
