"""The page of a finished run."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from etils import epath

from mpl.data.source import Pool
from mpl.pages import charts, page
from mpl.pages.page import Section
from mpl.run import collapse, evaluation, figures, measure
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import report as reports

IMAGES = 24  # thumbnails of a kind
MOST = 200  # classes of a confusion matrix


class Measured(NamedTuple):
    """The outputs of a run's networks for the labeled examples of a part."""

    part: str  # test, or validation without a test set
    pool: Pool
    indices: np.ndarray  # int [N], into the pool
    label: np.ndarray  # int [N]
    logits: dict[str, np.ndarray]  # by network, [N, K]


def render(workdir: epath.Path) -> str:
    """The page of a run, from its report, its metrics and its last weights.

    Raises:
      ValueError: no finished run, or its data are missing or have changed.
    """
    stages = evaluation.load(workdir)
    experiment = stages[0].experiment
    report, lines = reports.read(workdir), reports.read_metrics(workdir)
    measured = _measure(stages)
    classes = tuple(map(figures.legible, experiment.source.classes))
    split, warnings = report['split'], report['warnings'] if 'warnings' in report else []
    lead = (
        f'{report["algorithm"]["name"]} on {report["source"]["name"]}: {split["labeled"]:,} labeled, '
        f'{split["unlabeled"]:,} unlabeled, {split["validation"]:,} validation images (split '
        f'{split["hash"]}), seed {report["seed"]}, {report["steps"]:,} steps, '
        f'{report["seconds"]:.0f} s on {report["devices"]}.',
    )
    sections = [
        networks(report),
        *curves(lines),
        *pseudo_labels(lines, experiments.labeled_counts(experiment), warnings),
        *confusions(measured, classes),
        *pictures(measured, classes, evaluation.default_network(stages)),
        commands(workdir, report),
    ]
    return page.render(f'Run {workdir}', lead, reports.warnings(report), sections)


def _measure(stages):
    """Measured; None if the run has no labeled examples to measure by."""
    experiment = stages[0].experiment
    part = 'validation' if experiment.source.test is None else 'test'
    if part == 'validation' and not len(experiments.validation(experiment)[1]):
        return None
    pool, indices = evaluation.find_examples(experiment, part)
    indices = indices[pool.label[indices] >= 0]
    if not len(indices):
        return None
    logits = {}
    for stage in stages:
        forward = measure.make_forward(stage.experiment)
        outputs = measure.outputs(stage.experiment, forward, stage.state, pool, indices)
        logits |= {name: outputs[inner].logits for inner, name in stage.names.items()}
    return Measured(part, pool, indices, pool.label[indices], logits)


def networks(report: dict) -> Section:
    """The table of the networks."""
    header, keys = ['network', 'parameters'], ('accuracy', 'nll', 'calibration_error')
    parts = [p for p in ('validation', 'test') if any(p in n for n in report['networks'].values())]
    for part in parts:
        header += [f'{part} accuracy (%)', f'{part} NLL (nats)', f'{part} calibration error']
    rows = []
    for name, net in report['networks'].items():
        row = [name, f'{net["parameters"]:,}']
        for part in parts:
            if part in net:
                accuracy, nll, error = (net[part][key] for key in keys)
                row += [f'{100 * accuracy:.2f}', f'{nll:.4f}', f'{error:.4f}']
            else:
                row += ['-'] * len(keys)
        rows.append(row)
    text = f'Accuracy of the {report["weights"]}; test measured once, after training.'
    return Section('Networks', text, header, rows)


def curves(lines: list[dict]) -> list[Section]:
    """Losses, accuracy on validation and MPL's feedback over steps."""
    drawn = []
    for title, prefix, suffix, y in (
        ('Training loss', 'loss/', '', 'nats'),
        ('Validation accuracy', 'validation/', '/accuracy', 'share of images'),
        ("Feedback of the student on the teacher's pseudo-labels", 'feedback/', '', 'nats'),
    ):
        found = _series(lines, prefix, suffix)
        if found:
            drawn.append(charts.lines(title, found, y))
    return [Section('Curves', charts=drawn)] if drawn else []


def pseudo_labels(
    lines: list[dict], labeled: np.ndarray, warnings: Sequence[dict]
) -> list[Section]:
    """Quality of the pseudo-labels over steps; a dotted line where a warning was found."""
    marks = [(w['step'], w['kind']) for w in warnings if w['kind'] != 'damaged']
    drawn = []
    if accuracy := _series(lines, 'unlabeled/', '/accuracy'):
        drawn.append(
            charts.lines('Accuracy of pseudo-labels', accuracy, 'share', marks, share=True)
        )
    if mask := _series(lines, 'mask_rate'):
        drawn.append(
            charts.lines('Unlabeled images that are used', mask, 'share', marks, share=True)
        )
    if histograms := _series(lines, 'unlabeled/', '/histogram'):
        even = [
            (name, steps, [collapse.effective_classes(counts) for counts in values])
            for name, steps, values in histograms
        ]
        steps = even[0][1]
        reference = collapse.effective_classes(labeled)
        even.append(('labeled examples', steps, [reference] * len(steps)))
        title = 'Effective classes of pseudo-labels, exp(entropy)'
        drawn.append(charts.lines(title, even, 'classes', marks))
    return [Section('Pseudo-labels', charts=drawn)] if drawn else []


def confusions(measured: Measured | None, classes: tuple[str, ...]) -> list[Section]:
    """The confusion matrix of each network."""
    if measured is None:
        return []
    title = f'Confusion on {measured.part}'
    if len(classes) > MOST:
        text = f'Not drawn for {len(classes):,} classes; mpl.evaluate --json has the counts.'
        return [Section(title, text)]
    drawn = [
        charts.confusion(
            f'{name}: {100 * measure.accuracy(logits, measured.label):.2f} %',
            measure.confusion(logits, measured.label),
            classes,
        )
        for name, logits in measured.logits.items()
    ]
    return [Section(title, charts=drawn)]


def pictures(measured: Measured | None, classes: tuple[str, ...], network: str) -> list[Section]:
    """Thumbnails of the most confident errors and of the least sure images of a network."""
    if measured is None:
        return []
    part, pool, indices, label, logits = measured
    probability = np.exp(measure.log_softmax(logits[network]))
    best, confidence = probability.argmax(-1), probability.max(-1)
    order = np.argsort(confidence, kind='stable')
    wrong = [n for n in order[::-1] if best[n] != label[n]]
    sections = []
    for title, chosen in (
        (f'Most confident errors of {network} on {part}', wrong[:IMAGES]),
        (f'Least sure {part} images of {network}', order[:IMAGES]),
    ):
        image = pool.read(indices[chosen]) if len(chosen) else np.zeros((0, 1, 1, 1), np.uint8)
        if image.dtype != np.uint8 or image.shape[-1] not in (1, 3):
            sections.append(Section(title, 'The examples are not pictures and are not shown.'))
            continue
        shown = [
            page.Image(
                pixels,
                figures.legible(str(pool.name[indices[n]])),
                f'{classes[label[n]]} as {classes[best[n]]}, {confidence[n]:.3f}'
                if best[n] != label[n]
                else f'{classes[label[n]]}, {confidence[n]:.3f}',
            )
            for n, pixels in zip(chosen, image)
        ]
        count = f'{len(wrong):,} of {len(label):,} images are wrong.' if 'errors' in title else ''
        sections.append(Section(title, count, images=shown))
    return sections


def commands(workdir: epath.Path, report: dict) -> Section:
    """The config, the report and the commands of this run."""
    config = configs.read(workdir / 'config.json')
    text = (
        f'This page: python -m mpl.report --workdir={workdir}. The numbers again: python -m '
        f'mpl.evaluate --workdir={workdir} --split=test. The config below holds every value of the '
        'run, defaults included.'
    )
    folded = [
        ('config.json', configs.to_json(config)),
        ('report.json', json.dumps(report, indent=2)),
    ]
    return Section('Config and commands', text, code=folded)


def _series(lines, prefix, suffix=''):
    """(name, steps, values) of the metrics with this prefix and suffix."""
    return [
        (name.removeprefix(prefix).removesuffix(suffix) or name, *figures.series(lines, name))
        for name in figures.metric_names(lines, prefix, suffix)
    ]
