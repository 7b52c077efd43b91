"""Fine-tuning of a network of a finished run on given labels, one run for each learning rate."""

import functools
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from etils import epath
from ml_collections import ConfigDict

from mpl.run import folders, probe_classifiers, probe_features, probe_settings, stages
from mpl.run.evaluation import FinishedRun
from mpl.run.probe_settings import Part, Row, Settings


class Finetuning(NamedTuple):
    """A run of fine-tuning."""

    labels: str
    features: str
    rate: float
    config: ConfigDict
    folder: epath.Path


def plan(
    stage: FinishedRun,
    inner: str,
    settings: Settings,
    banks: dict[str, Part],
    folder: epath.Path,
    state: int,
) -> list[Finetuning]:
    """The runs of fine-tuning, checked; none without that probe.

    Labeled images that have no augmentation in the run, where they train an online probe, have the weak view.

    Args:
      stage: that has the network.
      inner: the network, by its name in the algorithm.
      settings: of the probes.
      banks: the labels, by settings.labels.
      folder: of the folders of the runs.
      state: fingerprint of the weights, on which the folders depend.

    Raises:
      ValueError: a setting is refused.
    """
    if 'finetune' not in settings.probes:
        return []
    plans = []
    starts = {
        settings.network: {'workdir': str(stage.workdir), 'network': inner, 'head': 'new'},
        probe_features.UNTRAINED: {},
    }
    for text, name, rate in itertools.product(banks, starts, settings.rates):
        config = stages.augmented(
            stages.labels_only(
                stage.experiment.config,
                inner,
                settings.steps,
                settings.batch,
                {'name': 'sgd', 'learning_rate': rate},
                starts[name],
            )
        )
        if text != 'split':
            count = 0 if text == 'all' else len(banks[text].indices)
            config = probe_settings.with_labels(config, count)
        key = f'{folders.checksum(config)} {state}'.encode()
        place = folder / f'finetune_{hashlib.sha256(key).hexdigest()[:8]}'
        plans.append(Finetuning(text, name, rate, config, place))
    stages.assemble(plans[0].config, plans[0].folder, stage.experiment.source)
    return plans


def run(
    stage: FinishedRun,
    plans: list[Finetuning],
    settings: Settings,
    banks: dict[str, Part],
    parts: Iterable[str],
) -> Iterator[Row]:
    """Trains, or resumes, the planned runs: of the network, and of the same one with random weights."""
    source = stage.experiment.source
    reports = {
        (plan.labels, plan.features, plan.rate): stages.run(plan.config, plan.folder, source)
        for plan in plans
    }
    for text, name in dict.fromkeys((plan.labels, plan.features) for plan in plans):
        accuracy = functools.partial(_accuracy, reports, text, name)
        chosen, accuracies = probe_classifiers.choose(settings.rates, accuracy, parts)
        yield Row(text, len(banks[text].indices), name, None, 'finetune', chosen, accuracies)


def _accuracy(reports, labels, features, rate, part):
    return reports[labels, features, rate]['networks']['student'][part]['accuracy']
