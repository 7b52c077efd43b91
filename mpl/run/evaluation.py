"""Loads finished runs, and evaluates their networks on whole splits."""

from typing import Any, NamedTuple

import numpy as np
from etils import epath
from tabulate import tabulate

from mpl.data.source import Pool, Source
from mpl.run import data_record, folders, measure
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

SPLITS = ('test', 'validation', 'train', 'labeled', 'unlabeled')
SHOWN = 20  # maximum number of classes in printed tables


class FinishedRun(NamedTuple):
    """A finished training of a run: the run itself, or its fine-tuning."""

    experiment: Experiment
    state: Any
    names: dict[str, str]  # of networks: in the algorithm -> in the report
    workdir: epath.Path
    data: dict  # the record of its data, with the hash of its initial split


def load(
    workdir: epath.Path, source: Source | None = None, images: bool = True
) -> list[FinishedRun]:
    """The stages of a finished run, the run itself first.

    Args:
      workdir: of the run.
      source: that of the run, if it is loaded already.
      images: whether to load the data of the run; without them only the networks can be used.

    Raises:
      ValueError: the folder has no finished run; or the data are missing or have changed.
    """
    if (workdir / 'config.json').exists() and not (workdir / 'report.json').exists():
        raise ValueError(
            f'The run in {workdir} is not finished (no report.json); '
            'the command that started it resumes it.'
        )
    stages = []
    for folder in (workdir, workdir / 'finetune'):
        if folder == workdir or folder.exists():
            if images:
                experiment, state, step = folders.load(folder, source)
                source = experiment.source
            else:
                experiment, state, step = folders.load_networks(folder)
            if step != experiment.config.steps:
                raise ValueError(
                    f'The last checkpoint in {folder} is damaged, that of step {step} is intact; '
                    'delete report.json and run the training command again.'
                )
            names = {n: n for n in experiment.algorithm.networks(state)}
            names = {'student': 'finetuned'} if stages else names
            data, _ = data_record.read(folder)
            stages.append(FinishedRun(experiment, state, names, folder, data))
    return stages


def check_network(name: str, stages: list[FinishedRun]) -> None:
    """Raises ValueError if the run has no network of that name."""
    names = [n for stage in stages for n in stage.names.values()]
    if name not in names:
        raise ValueError(f'The run has no network {name!r}; give one of {", ".join(names)}.')


def default_network(stages: list[FinishedRun]) -> str:
    """The name of the network to predict with, see measure.result."""
    return measure.result(name for stage in stages for name in stage.names.values())


def find_network(name: str, stages: list[FinishedRun]) -> tuple[FinishedRun, str]:
    """The stage of a network, and its name in the algorithm; raises ValueError for unknown names."""
    check_network(name, stages)
    return next((s, inner) for s in stages for inner, n in s.names.items() if n == name)


def check_output(path: str) -> None:
    """Raises ValueError for the path of a folder, or a path in a folder that does not exist."""
    folder = epath.Path(path).parent
    if not folder.is_dir():
        raise ValueError(f'{path} cannot be written: there is no folder {folder}; create it first.')
    if epath.Path(path).is_dir():
        raise ValueError(f'{path} is a folder; give the name of a file.')


def find_examples(experiment: Experiment, split: str) -> tuple[Pool, np.ndarray]:
    """The pool of a split, and the indices of its examples, ascending, without repeats.

    Args:
      experiment: the run.
      split: one of SPLITS; 'train' is the union of 'labeled' and 'unlabeled'.

    Raises:
      ValueError: unknown split, or one without examples.
    """
    if split not in SPLITS:
        raise ValueError(f'The split {split!r} is unknown; give one of {", ".join(SPLITS)}.')
    source, drawn = experiment.source, experiment.split
    if split == 'test':
        pool, indices = source.test, np.arange(len(source.test.label) if source.test else 0)
    elif split == 'validation':
        pool, indices = experiments.validation(experiment)
    elif split == 'train':
        pool, indices = source.train, np.union1d(drawn.labeled, drawn.unlabeled)
    else:
        pool, indices = source.train, np.unique(getattr(drawn, split))
    if not len(indices):
        raise ValueError(f'The run has no {split} examples; give another of {", ".join(SPLITS)}.')
    return pool, indices


def evaluate(workdir: epath.Path, split: str, chosen: list[str]) -> dict:
    """Evaluates networks of a finished run on a whole split.

    Args:
      workdir: of the run.
      split: one of SPLITS.
      chosen: names of networks as in the report; empty for all.

    Returns:
      JSON-serializable; accuracies are fractions, nll is in nats, confusion has counts by true and
      predicted class. accuracy_by_class is None for classes without examples.

    Raises:
      ValueError: unknown run, split or network, or no example has a label.
    """
    stages = load(workdir)
    for name in chosen:
        check_network(name, stages)
    experiment = stages[0].experiment
    stages = [stage for stage in stages if experiments.has_head(stage.experiment.config)]
    if not stages:
        raise ValueError(
            f'The run in {workdir} was trained without labels: its last layer is random, so there is no '
            'accuracy to measure. Judge its features by a probe, or fine-tune from it (init_from).'
        )
    pool, indices = find_examples(experiment, split)
    label = pool.label[indices]
    known = label >= 0
    if not known.any():
        raise ValueError(
            f'No {split} example has a label to measure by; mpl.predict gives them labels.'
        )
    networks = {}
    for stage in stages:
        forward = measure.make_forward(stage.experiment)
        outputs = measure.outputs(stage.experiment, forward, stage.state, pool, indices)
        for inner, name in stage.names.items():
            if not chosen or name in chosen:
                summary, counts = measure.summarize_by_class(outputs[inner].logits, label)
                networks[name] = summary | {'confusion': counts.tolist()}
    return {
        'workdir': str(workdir),
        'split': split,
        'split_hash': experiment.split.hash,
        'weights': measure.describe(experiment.config),
        'examples': int(known.sum()),
        'examples_without_label': int(np.sum(~known)),
        'classes': list(experiment.source.classes),
        'networks': networks,
    }


def show(result: dict) -> str:
    """The result of `evaluate` as tables."""
    networks, classes = result['networks'], result['classes']
    rows = [
        [name, f'{100 * n["accuracy"]:.2f} %', f'{n["nll"]:.4f}', f'{n["calibration_error"]:.4f}']
        for name, n in networks.items()
    ]
    tables = [
        tabulate(
            rows,
            ['network', 'accuracy', 'NLL (nats)', 'calibration error'],
            colalign=('left', 'right', 'right', 'right'),
            disable_numparse=True,
        )
    ]
    if len(classes) <= SHOWN:
        counts = np.sum(next(iter(networks.values()))['confusion'], -1)
        rows = [
            [name, count]
            + ['-' if (a := n['accuracy_by_class'][k]) is None else f'{100 * a:.2f} %'
               for n in networks.values()]
            for k, (name, count) in enumerate(zip(classes, counts))
        ]  # fmt: skip
        tables.append(_table(rows, ['class', 'examples', *networks]))
        for name, n in networks.items():
            rows = [[true, *counts] for true, counts in zip(classes, n['confusion'])]
            tables.append(f'{name}: true class by predicted class\n' + _table(rows, ['', *classes]))
    else:
        tables.append(f'For each of the {len(classes)} classes, see the file of --json.')
    without = result['examples_without_label']
    return '\n\n'.join(tables) + (
        f'\n\n{result["examples"]} {result["split"]} examples'
        + (f' ({without} more have no label)' if without else '')
        + f' of {result["workdir"]}, split {result["split_hash"]}, {result["weights"]}.'
    )


def _table(rows, headers):
    return tabulate(
        rows, headers, colalign=['left'] + ['right'] * (len(headers) - 1), disable_numparse=True
    )
