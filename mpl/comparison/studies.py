"""Studies of active learning side by side: rules and learners over seeds, against uniform random."""

import json
from pathlib import Path

from etils import epath
from ml_collections import ConfigDict

from mpl.comparison.table import Reports
from mpl.comparison.workers import Job
from mpl.cycles import loop
from mpl.cycles import report as study_reports
from mpl.cycles import study as studies
from mpl.run import config as configs
from mpl.run import records

RANDOM, BALANCED = 'random', 'balanced (oracle)'
# The rows of every comparison, by name: their sections `active`.
BASELINES = {
    RANDOM: dict(rule=dict(name='random'), logits='network', passes=1),
    BALANCED: dict(
        rule=dict(name='per_predicted_class', rule=dict(name='random')), logits='labels', passes=1
    ),
}


def add_baselines(named: dict[str, ConfigDict]) -> dict[str, ConfigDict]:
    """The configs, with uniform random and the balanced oracle for every learner that lacks one.

    They are before the other configs of their learner, in folders <first config>+random and
    <first config>+balanced. They start as the first config does, except that random draws its
    first images.
    """
    found = {}
    for names in _by_learner(named).values():
        for baseline, active in BASELINES.items():
            if not any(rule_name(named[name]) == baseline for name in names):
                given = named[names[0]].to_dict()
                given['active'] = given['active'] | active | dict(start_from='random')
                found[f'{names[0]}+{baseline.split()[0]}'] = configs.complete(given)
        found |= {name: named[name] for name in names}
    return found


def learners(named: dict[str, ConfigDict]) -> dict[str, str]:
    """The name of the learner of each config: its algorithm and that of the stage it starts from.

    With a number if that is not unique.
    """
    found, used = {}, {}
    for names in _by_learner(named).values():
        config = named[names[0]]
        stage = config.init_from.config
        learner = config.algorithm.name + (f' from {stage.algorithm.name}' if stage else '')
        used[learner] = used.get(learner, 0) + 1
        number = '' if used[learner] == 1 else f' {used[learner]}'
        found |= dict.fromkeys(names, learner + number)
    return found


def rule_name(config: ConfigDict) -> str:
    """The name of a config's rule in tables: with the arguments that are not their defaults."""
    active = config.active
    for name, baseline in BASELINES.items():
        if {key: active.to_dict()[key] for key in baseline} == baseline:
            return name + _start(active)
    default = configs.complete(
        config.to_dict() | {'active': {'rule': {'name': active.rule.name}}}
    ).active
    changed = [f'{key}={value}' for key, value in active.rule.items() if value != default.rule[key]]
    words = [active.rule.name, *changed] + ['oracle'] * (active.logits == 'labels')
    return ', '.join(words) + _start(active)


def plan(named: dict[str, ConfigDict], seeds: int, workdir: Path) -> tuple[list[Job], Reports]:
    """Jobs for the unfinished studies, and the reports of the finished ones, by seed.

    Raises:
      ValueError: a config is refused, or needs labels by people.
    """
    firsts = {names[0] for names in _by_learner(named).values()}
    for name, config in named.items():
        try:
            study = studies.make(config, epath.Path(workdir / name / '0'))
            if name in firsts:  # All rules of a learner train the same network in the same way.
                studies.assemble(study)
        except ValueError as error:
            raise ValueError(f'{name}: {error}') from error
        if study.source.test is None and not (len(study.validation) or study.source.validation):
            raise ValueError(
                f'{name}: there are neither test nor validation images to compare rules on; give '
                'split.validation.'
            )
        if config.active.patience:
            raise ValueError(
                f'{name}: active.patience is {config.active.patience}, but compared studies buy equally many '
                'images; set it to 0.'
            )
        if study.asks:
            raise ValueError(
                f'{name}: images of the pool have no label, so rules cannot be compared on them; '
                'give a source with all labels, or one config as --config.'
            )
    jobs, reports = [], {name: {} for name in named}
    for seed in range(seeds):
        for name, config in named.items():
            folder = workdir / name / str(seed)
            seeded = configs.seeded(config, seed)
            path = epath.Path(folder / f'{study_reports.NAME}.json')
            if path.exists():
                studies.prepare(studies.make(seeded, epath.Path(folder)))  # Of this config?
                reports[name][seed] = records.read(path, 'the report of a study', 'delete it')
            else:
                jobs.append(Job(name, seed, seeded.to_dict(), str(folder), loop.run))
    return jobs, reports


def _by_learner(named):
    """The names of the configs that differ in the section `active` alone."""
    found = {}
    for name, config in named.items():
        given = config.to_dict() | {'active': None, 'seed': None}
        found.setdefault(json.dumps(given, sort_keys=True), []).append(name)
    return found


def _start(active):
    return '' if active.start_from == 'random' else f', from {active.start_from}'
