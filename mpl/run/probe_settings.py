"""Settings of the probes of a finished run, the examples that they need, and checks of both."""

from typing import NamedTuple

import numpy as np
from ml_collections import ConfigDict

from mpl.data.source import Pool
from mpl.run import checks, split_files
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

PROBES = ('neighbors', 'linear', 'finetune')
# The help text of their labels.
LABELS = "'split': those of the run; 'all' of the training images; a number; or '1%%'"
CHOICES = ('neighbors', 'decays', 'rates')  # their settings that are chosen on validation


class Settings(NamedTuple):
    """What to measure, and the values to choose from on validation."""

    network: str = 'student'  # by its name in the report
    layer: str = 'features'  # or a path of network.capture
    grid: int = 1  # feature maps are averaged over grid x grid cells
    labels: tuple[str, ...] = ('split',)  # see find_labels
    probes: tuple[str, ...] = ('neighbors', 'linear')  # of PROBES
    neighbors: tuple[int, ...] = (20,)
    temperature: float = 0.07  # of the neighbors' weights
    decays: tuple[float, ...] = tuple(10.0**n for n in range(-6, 2))  # see linear_probe.fit
    steps: int = 500  # of fine-tuning
    rates: tuple[float, ...] = (0.01, 0.03, 0.1)  # learning rates of fine-tuning
    batch: int = 32  # images per step of fine-tuning


class Part(NamedTuple):
    """Examples with labels."""

    pool: Pool
    indices: np.ndarray  # int [n]

    @property
    def label(self) -> np.ndarray:
        return self.pool.label[self.indices]


class Row(NamedTuple):
    """One probe of one kind of features, given one set of labels."""

    labels: str  # one of settings.labels
    count: int  # of the labels
    features: str
    dimensions: int | None  # None for fine-tuning
    probe: str
    chosen: dict  # value of the setting in CHOICES, and warnings
    accuracy: dict[str, float]  # by part


def find_parts(experiment: Experiment) -> dict[str, Part]:
    """The labeled examples of validation and test, each where there are any."""
    parts = {'validation': Part(*experiments.validation(experiment))}
    if experiment.source.test is not None:
        pool = experiment.source.test
        parts['test'] = Part(pool, np.arange(len(pool.label)))
    known = {name: Part(p.pool, p.indices[p.label >= 0]) for name, p in parts.items()}
    return {name: part for name, part in known.items() if len(part.indices)}


def find_labels(experiment: Experiment, text: str) -> Part:
    """The training images whose labels the probes are given, by ascending index.

    Args:
      experiment: the run, with its initial split.
      text: 'split': the labeled images of the run's split. 'all': all training images that have a label
        and are not held out. '40' or '10%': so many of these, as many of each class, those of a run with
        this split.labels and the same seed.

    Raises:
      ValueError: another text, no label, or too many of them.
    """
    pool = experiment.source.train
    known = checks.find_labels(experiment.source, experiment.split, 'all')
    if text in ('split', 'all'):
        return Part(pool, checks.find_labels(experiment.source, experiment.split, text))
    number = text.removesuffix('%')
    if not number.isdecimal() or not int(number):
        raise ValueError(f"--labels is {text!r}; give 'split', 'all', a number or a percentage.")
    if experiment.config.split.file:
        raise ValueError(
            f'--labels is {text!r}, but the split of the run was read from a file and not drawn; '
            "give 'split' or 'all'."
        )
    count = int(number) * len(known) // 100 if text.endswith('%') else int(number)
    config = with_labels(experiment.config, max(count, 1))
    return Part(pool, split_files.make(config, experiment.source).labeled)


def with_labels(config: ConfigDict, count: int) -> ConfigDict:
    """The config with another number of labels, 0 for all."""
    given = config.to_dict()
    return configs.complete(given | {'split': given['split'] | {'labels': count}})


def check(
    settings: Settings,
    config: ConfigDict,
    shapes: dict[str, tuple[int, ...]],
    banks: dict[str, Part],
    parts: dict[str, Part],
) -> None:
    """Refuses settings that the run cannot be probed with.

    Args:
      settings: of the probes.
      config: of the run.
      shapes: of the layers of the network, [B, ...].
      banks: the labels that the probes are given, by settings.labels.
      parts: of `find_parts`.

    Raises:
      ValueError: names the setting and what is allowed.
    """
    if unknown := set(settings.probes) - set(PROBES):
        raise ValueError(f'{min(unknown)!r} is no probe; give some of {", ".join(PROBES)}.')
    if not parts:
        raise ValueError('The run has neither validation nor test images with a label.')
    numbers = {name: getattr(settings, name) for name in CHOICES}
    single = {name: (getattr(settings, name),) for name in ('temperature', 'steps', 'batch')}
    for name, values in (numbers | single).items():
        if not min(values) > 0:
            raise ValueError(f'--{name} is {min(values)}; give numbers above 0.')
    for probe, name in zip(PROBES, CHOICES):
        if probe in settings.probes and len(numbers[name]) > 1 and 'validation' not in parts:
            raise ValueError(
                f'--{name} has {len(numbers[name])} values to choose from on validation, but the run '
                'has no validation images; give one value.'
            )
    for text, bank in banks.items():
        if len(np.unique(bank.label)) < 2:
            raise ValueError(f'--labels={text} has labels of one class; give two classes or more.')
        if 'finetune' in settings.probes and text == 'all' and config.split.file:
            raise ValueError(
                '--labels=all cannot be fine-tuned with, since the split of the run was read from a '
                "file; give 'split', or --probes neighbors linear."
            )
        if 'neighbors' in settings.probes:
            checks.check_neighbors(max(settings.neighbors), len(bank.indices))
    if settings.layer not in shapes:
        raise ValueError(
            f'{settings.network} has no layer {settings.layer!r}; give one of {", ".join(shapes)}.'
        )
    shape = shapes[settings.layer][1:]
    largest = min(shape[:2]) if len(shape) == 3 else 1
    if not 1 <= settings.grid <= largest:
        raise ValueError(
            f'--grid is {settings.grid}, but {settings.layer} has outputs of '
            f'{" x ".join(map(str, shape))}; give a number from 1 to {largest}.'
        )
