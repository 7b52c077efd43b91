"""Probes of a finished run: what classifiers reach on the features of one of its networks.

Weighted nearest neighbors, logistic regression and fine-tuning, each beside the same network before
training and the first two beside raw pixels. Values are chosen on validation, and the test is measured with the
chosen ones alone. Features are those of evaluation mode, of images without augmentation.

Results are in <workdir>/probes/, one file for each network and settings, and are read, not measured
again, by the same call.
"""

import hashlib
import json
from collections.abc import Iterator

import numpy as np
from etils import epath
from tabulate import tabulate

from mpl.run import config as configs
from mpl.run import (
    data_record,
    evaluation,
    measure,
    probe_classifiers,
    probe_features,
    probe_finetuning,
    probe_settings,
    provenance,
    records,
)
from mpl.run.probe_settings import Part, Row, Settings

FOLDER = 'probes'
TITLES = {'neighbors': 'k-NN', 'linear': 'linear', 'finetune': 'fine-tuned'}
CHOICES = dict(zip(probe_settings.PROBES, probe_settings.CHOICES))
WARNINGS = {probe_classifiers.AT_END: '*', probe_classifiers.NOT_CONVERGED: '!'}  # marks


def run(workdir: epath.Path, settings: Settings) -> dict:
    """Measures a finished run, or reads what the same call has measured before.

    Returns:
      JSON-serializable: 'made_by', the provenance of the network and the settings; 'rows', the fields of `Row`;
      'examples', their number by part; 'weights', what the network is of.

    Raises:
      ValueError: there is no such run, network or label, a setting is not allowed, or the file of the
        results was made by other weights or data.
    """
    stage, inner = evaluation.find_network(settings.network, evaluation.load(workdir))
    split, _ = data_record.read_split(workdir)
    stage = stage._replace(experiment=stage.experiment._replace(split=split))
    made_by = provenance.make(stage, settings.network, 'train')
    made_by |= {'step': stage.experiment.config.steps, 'settings': settings._asdict()}
    path = workdir / FOLDER / _name(settings)
    if not path.exists():
        banks = {
            text: probe_settings.find_labels(stage.experiment, text) for text in settings.labels
        }
        parts = probe_settings.find_parts(stage.experiment)
        shapes = probe_features.layer_shapes(stage.experiment, inner)
        probe_settings.check(settings, stage.experiment.config, shapes, banks, parts)
        plans = probe_finetuning.plan(
            stage, inner, settings, banks, workdir / FOLDER, made_by['state']
        )
        rows = [
            *_probe(stage, inner, settings, banks, parts),
            *probe_finetuning.run(stage, plans, settings, banks, parts),
        ]
        path.parent.mkdir(exist_ok=True)
        record = {
            'made_by': made_by,
            'rows': [row._asdict() for row in rows],
            'examples': {name: len(part.indices) for name, part in parts.items()},
            'weights': measure.describe(stage.experiment.config),
        }
        records.write(path, record)
    return _read(path, made_by)


def show(result: dict) -> str:
    """The result of `run` as a table."""
    made_by, parts = result['made_by'], list(result['examples'])
    settings, lines = made_by['settings'], {}
    for row in (Row(**row) for row in result['rows']):
        lines.setdefault((row.labels, row.features), {})[row.probe] = row
    order = sorted(lines, key=lambda line: settings['labels'].index(line[0]))
    table = []
    for labels, features in order:
        found = lines[labels, features]
        first = next(iter(found.values()))
        labels = labels if labels == str(first.count) else f'{labels} ({first.count:,})'
        table.append([labels, features, first.dimensions or '-'])
        for probe in settings['probes']:
            table[-1] += _cells(found[probe], parts) if probe in found else ['-'] * (len(parts) + 1)
    headers = ['labels', 'features', 'dimensions']
    for probe in settings['probes']:
        headers += [f'{TITLES[probe]}: --{CHOICES[probe]}', *parts]
    align = ['left', 'left'] + ['right'] * (len(headers) - 2)
    warnings = {w for row in result['rows'] for w in row['chosen']['warnings']}
    counts = ', '.join(f'{count:,} {part} images' for part, count in result['examples'].items())
    return (
        tabulate(table, headers, colalign=align, disable_numparse=True)
        + ''.join(f'\n{WARNINGS[w]} {w}' for w in WARNINGS if w in warnings)
        + f'\n{counts}; {settings["network"]}, layer {settings["layer"]}, step {made_by["step"]} of '
        f'{made_by["workdir"]}, split {made_by["data"]["split"]}, {result["weights"]}.'
    )


def _cells(row, parts):
    """The chosen value, marked with its warnings, and the accuracies."""
    marks = ''.join(WARNINGS[warning] for warning in row.chosen['warnings'])
    accuracies = [f'{100 * row.accuracy[part]:.2f} %' for part in parts]
    return [f'{row.chosen["value"]:g}{marks}', *accuracies]


def _read(path: epath.Path, made_by: dict) -> dict:
    """The results in a file; raises ValueError if they are of other weights, data or settings."""
    result = records.read(path, 'a result of mpl.probe', 'delete it, and it is measured again')
    lines = provenance.differences(result['made_by'], made_by)
    written = json.loads(json.dumps(made_by['settings']))
    lines += configs.differences(result['made_by']['settings'], written)
    if lines:
        raise ValueError(
            f'{path} is not of this network and these settings ({"; ".join(lines)}); delete it, and '
            'it is measured again.'
        )
    return result


def _probe(stage, inner, settings, banks, parts) -> Iterator[Row]:
    """The rows of nearest neighbors and of linear probes."""
    probes = {
        'neighbors': probe_classifiers.by_neighbors,
        'linear': probe_classifiers.linearly,
    }
    probes = {name: probe for name, probe in probes.items() if name in settings.probes}
    if not probes:
        return
    experiment = stage.experiment
    examples = np.unique(np.concatenate([bank.indices for bank in banks.values()]))
    needed = {'bank': Part(experiment.source.train, examples)} | parts
    kinds = probe_features.compute(
        experiment, stage.state, inner, settings.layer, settings.grid, needed
    )
    for kind, features in kinds:
        queries = {name: (features[name], part.label) for name, part in parts.items()}
        for text, bank in banks.items():
            chosen = features['bank'][np.searchsorted(examples, bank.indices)]
            for probe, classify in probes.items():
                values, accuracy = classify(
                    chosen, bank.label, queries, len(experiment.source.classes), settings
                )
                count, width = chosen.shape
                name = kind or settings.network
                yield Row(text, count, name, width, probe, values, accuracy)


def _name(settings: Settings) -> str:
    text = json.dumps(settings._asdict(), sort_keys=True)
    layer = settings.layer.replace('/', '.')
    return f'{settings.network}_{layer}_{hashlib.sha256(text.encode()).hexdigest()[:8]}.json'
