"""The protocol of a comparison as text: what the configs share and where they differ."""

import json
from typing import Any

from ml_collections import ConfigDict

from mpl.comparison.table import Reports
from mpl.run import config as configs

SHOWN = 3  # maximum number of differing keys that are listed; more are shown as 'another'


def show(reports: Reports, named: dict[str, ConfigDict]) -> str:
    """The data, the shared and differing settings of the configs, and the metrics of the table."""
    finished = {name: config for name, config in named.items() if reports[name]}
    data, weights = {}, {}
    for name, config in finished.items():
        for report in reports[name].values():
            data.setdefault(_data(config, report), {})[name] = None
            weights.setdefault(report['weights'], {})[name] = None
    return (
        f'Data: {"; ".join(_list(data))}. The seed draws split, weights and order.\n'
        f'{_compare({name: _aspects(c, reports[name]) for name, c in finished.items()})}\n'
        f'Accuracy of the {" or the ".join(_list(weights))}, test measured once, after training: mean ± sample '
        'standard deviation over seeds. Difference: test accuracy minus that of the first row with as '
        'many labels, paired by seed, mean ± standard error.'
    )


def _list(holders):
    """The texts, with the configs that each is of if there are several."""
    if len(holders) == 1:
        return list(holders)
    return [f'{text} ({", ".join(names)})' for text, names in holders.items()]


def _data(config, report):
    source, split = report['source'], report['split']
    named = [source[k] for k in ('name', 'dataset', 'path') if k in source]
    counts = [f'{split[k]:,} {k}' for k in ('labeled', 'unlabeled', 'validation')]
    if config.split.unlabeled_only:
        counts.append(f'classes {" and ".join(config.split.unlabeled_only)} unlabeled only')
    if config.split.imbalance != 1:
        which = 'first class', 'the last'
        if config.split.rare:
            which = 'other classes each', f'each of {", ".join(config.split.rare)}'
        counts.append(f'{which[0]} {config.split.imbalance:g} times as frequent as {which[1]}')
    return f'{" ".join(named)}, {", ".join(counts)}'


def _aspects(config: ConfigDict, reports: dict[int, dict]) -> dict[str, Any]:
    """Settings that a fair comparison fixes or reports: a value, or a section as a dict."""
    networks = config.networks.to_dict()
    return {
        'network': _only([net['model'] for net in networks.values()]),
        'optimizer': _only([net['optimizer'] for net in networks.values()]),
        'views': config.views.to_dict(),
        'steps': config.steps,
        'batch': {'labeled': config.batch.labeled, 'unlabeled': config.batch.unlabeled},
        'images seen': next(iter(reports.values()))['images_seen'],
    }


def _only(sections):
    """The section if it is the same for all roles, else all sections by position."""
    return (
        sections[0] if sections.count(sections[0]) == len(sections) else dict(enumerate(sections))
    )


def _compare(aspects: dict[str, dict[str, Any]]) -> str:
    """One line: the shared aspects, and for the others the differences from the most common value."""
    same, other = [], []
    for aspect in next(iter(aspects.values())):
        holders = {}
        for name, values in aspects.items():
            holders.setdefault(json.dumps(values[aspect], sort_keys=True), []).append(name)
        most = max(holders, key=lambda text: len(holders[text]))
        texts = {}
        for text, names in holders.items():
            if text != most:
                change = _change(json.loads(most), json.loads(text))
                texts.setdefault(change, []).extend(names)
        if texts:
            differences = '; '.join(
                f'{change} in {", ".join(names)}' for change, names in texts.items()
            )
            other.append(f'{aspect} ({differences})')
        else:
            same.append(f'{aspect} ({_short(json.loads(most))})')
    return '. '.join(
        f'{head}: {", ".join(of)}'
        for head, of in (('The same in all', same), ('Not the same', other))
        if of
    ) + '.'  # fmt: skip


def _change(most, own):
    if not isinstance(most, dict):
        return f'{_short(most)} -> {_short(own)}'
    lines = configs.differences(most, own)
    return ', '.join(lines) if len(lines) <= SHOWN else 'another'


def _short(value):
    """1000 as '1,000'; a section as its name or its values."""
    if not isinstance(value, dict):
        return f'{value:,}'
    if 'name' in value:
        return value['name']
    return ', '.join(f'{key} {_short(inner)}' for key, inner in value.items())
