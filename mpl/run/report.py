"""The report of a finished run: report.json, and a table for the terminal."""

import importlib.metadata
import sys
from typing import Any

import jax
import numpy as np
from absl import logging
from etils import epath
from tabulate import tabulate

from mpl.data import damage, stream
from mpl.models import network
from mpl.parallel import processes
from mpl.run import collapse, figures, flops, measure, memory, metrics, records, schema, teacher
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

NO_LABELS = (
    'no label was used in training, so the last layer is random and there is no accuracy to measure. Judge '
    'the features by a probe, or fine-tune from this run (init_from).'
)
SHOWN = 20  # maximum number of classes in the table of damaged images
LIBRARIES = ('jax', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def write(
    experiment: Experiment,
    state: Any,
    seconds: float,
    stages: dict[str, dict],
    workdir: epath.Path,
) -> dict:
    """Evaluates the last state on validation and, once, on test; draws figures; writes report.json.

    Args:
      experiment: the run.
      state: after its last step.
      seconds: of training, over all restarts.
      stages: the reports of the stages of the run, by the names of their folders.
      workdir: of the run.
    """
    networks, confusions = _measure(experiment, state)
    if processes.is_primary():
        report, findings = _compose(experiment, networks, seconds, stages, workdir)
        try:
            figures.draw(experiment, confusions, findings, workdir)
        except Exception as error:  # A failed figure must not end a trained run.
            logging.warning('The figures could not be drawn: %r', error)
        # Last, because a report marks a finished run.
        records.write(workdir / 'report.json', report)
    processes.wait('reported')
    return read(workdir)


def read(workdir: epath.Path) -> dict:
    """The report of a finished run; raises ValueError if it is damaged."""
    return records.read(
        workdir / 'report.json',
        'the report of a run',
        'delete it, and the command that trained the run writes it again',
    )


def read_metrics(workdir: epath.Path) -> list[dict]:
    """The lines of a run's metrics.jsonl; empty if there is none.

    Raises:
      ValueError: a line is damaged, or a finished run has lost lines.
    """
    path = workdir / 'metrics.jsonl'
    lines = metrics.read(path) if path.exists() else []
    if (workdir / 'report.json').exists():
        written = read(workdir)['metrics_lines']
        if len(lines) != written:
            raise ValueError(
                f'{path} has {len(lines)} lines; the run has written {written}. Restore it, or delete '
                'it and report.json: the command that trained the run then writes a new report.'
            )
    return lines


def _measure(experiment, state):
    """Metrics of each network, and its confusion matrix on test, or on validation without a test set."""
    forward = measure.make_forward(experiment)
    parts = {'validation': experiments.validation(experiment)}
    if experiment.source.test is not None:
        test = experiment.source.test
        parts['test'] = (test, np.arange(len(test.label)))
    frozen = experiment.algorithm.networks(state)
    networks = {
        name: {'parameters': network.count_parameters(net.variables.params)}
        for name, net in frozen.items()
    }
    confusions = {}
    for part, (pool, indices) in parts.items():
        if np.any(pool.label[indices] >= 0) and experiments.has_head(experiment.config):
            outputs = measure.outputs(experiment, forward, state, pool, indices)
            for name, output in outputs.items():
                networks[name][part], confusions[name] = measure.summarize_by_class(
                    output.logits, pool.label[indices]
                )
    return networks, confusions


def _compose(experiment, networks, seconds, stages, workdir):
    """The report, and the findings of collapse.py in it."""
    config, split = experiment.config, experiment.split
    if 'finetune' in stages:
        networks['finetuned'] = stages['finetune']['networks']['student']
    for stage in schema.STAGES.values():
        others = stages[stage]['networks'] if stage in stages else {}
        networks |= {f'{stage}/{name}': net for name, net in others.items()}
    lines = metrics.read(workdir / 'metrics.jsonl')
    findings = collapse.of_run(experiment, lines)
    if not experiments.has_head(config):
        findings.append(collapse.Finding('labels', config.steps, NO_LABELS))
    gray, left_out = _damaged(experiment), experiment.source.left_out
    damaged = [
        collapse.Finding('damaged', config.steps, sentence)
        for sentence in damage.warnings(gray, left_out)
    ]
    step_flops = flops.of_step(experiment)
    report = {
        'source': config.source.to_dict(),
        'architecture': {role: net.model.to_dict() for role, net in config.networks.items()},
        'algorithm': config.algorithm.to_dict(),
        'split': {
            'hash': split.hash,
            'labeled': len(split.labeled),
            'unlabeled': len(np.unique(split.unlabeled)),
            'validation': len(experiments.validation(experiment)[1]),
            'unlabeled_includes_labeled': bool(np.isin(split.labeled, split.unlabeled).any()),
            'unlabeled_only': list(config.split.unlabeled_only),
            'imbalance': config.split.imbalance,
            'rare': list(config.split.rare),
        },
        **teacher.selection_counts(experiment, workdir),
        'seed': config.seed,
        'steps': config.steps,
        'images_seen': config.steps * (config.batch.labeled + config.batch.unlabeled)
        + sum(stage['images_seen'] for stage in stages.values()),
        'flops': {
            'step': step_flops,
            'run': config.steps * step_flops
            + sum(stage['flops']['run'] for stage in stages.values()),
        },
        'weights': measure.describe(config),
        'networks': networks,
        'warnings': [finding._asdict() for finding in findings + damaged],
        'damaged': {'gray': gray, 'left_out': left_out},
        'seconds': seconds + sum(stage['seconds'] for stage in stages.values()),
        'peak_memory_bytes': memory.peak(),
        'peak_device_memory_bytes': memory.peak_of_device(),
        'metrics_lines': len(lines),
        'devices': f'{jax.device_count()} x {jax.devices()[0].device_kind}',
        'versions': {'python': sys.version.split()[0]}
        | {name: importlib.metadata.version(name) for name in LIBRARIES},
    }
    return report, findings


def _damaged(experiment: Experiment) -> damage.Counts:
    """Damaged images that are read as gray: of validation and test, and of the training batches."""
    config, source, split = experiment.config, experiment.source, experiment.split
    parts = {}
    for part, indices in (('labeled', split.labeled), ('unlabeled', split.unlabeled)):
        drawn = config.steps * config.batch[part]
        if 0 < drawn < len(indices):  # Less than an epoch.
            indices = stream.sample(config.seed, part, 0, drawn, indices)
        if drawn:
            parts[part] = source.train, indices
    return damage.count(parts | damage.measured(source, split), source.classes)


def show(report: dict, workdir: str) -> str:
    """The report as a table, with the path of the run."""
    rows = [
        [name, f'{net["parameters"]:,}']
        + [
            f'{100 * net[part]["accuracy"]:.2f} %' if part in net else '-'
            for part in ('validation', 'test')
        ]
        for name, net in report['networks'].items()
    ]
    split = report['split']
    table = tabulate(
        rows,
        ['network', 'parameters', 'validation', 'test'],
        colalign=('left', 'right', 'right', 'right'),
    )
    return (
        f'{table}\n{_show_damaged(report["damaged"]) if "damaged" in report else ""}'
        f'{report["algorithm"]["name"]}, {split["labeled"]} labels (split {split["hash"]}), '
        f'seed {report["seed"]}, {report["steps"]} steps, {report["seconds"]:.0f} s; accuracy of '
        f'the {report["weights"]}.\n'
        + ''.join(f'Warning: {sentence}\n' for sentence in warnings(report))
        + f'Report, metrics, checkpoints and figures: {workdir}'
    )


def _show_damaged(damaged: dict[str, damage.Counts]) -> str:
    """A table of damaged images; '' if there are none."""
    counts = {
        f'{part}, {"left out" if kind == "left_out" else kind}': by_class
        for kind, parts in damaged.items()
        for part, by_class in parts.items()
    }
    if not counts:
        return ''
    classes = sorted({name for by_class in counts.values() for name in by_class})
    rows = [
        [name] + [by_class[name] if name in by_class else '-' for by_class in counts.values()]
        for name in classes[:SHOWN]
    ]
    rows += [['...'] + [''] * len(counts)] if len(classes) > SHOWN else []
    rows.append(['all classes'] + [sum(by_class.values()) for by_class in counts.values()])
    align = ['left'] + ['right'] * len(counts)
    return '\n' + tabulate(rows, ['damaged images', *counts], colalign=align) + '\n\n'


def warnings(report: dict) -> list[str]:
    """The sentences of a report's warnings; old reports have none."""
    return [warning['sentence'] for warning in report['warnings']] if 'warnings' in report else []
