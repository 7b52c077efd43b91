"""Finished runs: loaded with their networks, and measured on a whole split."""

from typing import Any, NamedTuple

import numpy as np
from etils import epath
from tabulate import tabulate

from mpl.data.source import Pool, Source
from mpl.run import data_record, measure
from mpl.run import experiment as experiments
from mpl.run import workdir as folders
from mpl.run.experiment import Experiment

SPLITS = ('test', 'validation', 'train', 'labeled', 'unlabeled')
SHOWN = 20  # classes, up to which tables by class are printed


class Stage(NamedTuple):
    """One training of a run, finished: the run itself, or its fine-tuning."""

    experiment: Experiment
    state: Any
    names: dict[str, str]  # of its networks: the algorithm's -> the report's
    workdir: epath.Path
    data: dict  # record of what it was trained on, with the hash of the split it began with


def load(workdir: epath.Path, source: Source | None = None, images: bool = True) -> list[Stage]:
    """The stages of a finished run, the run itself first.

    Args:
      workdir: of the run.
      source: that of the run, where it is at hand already.
      images: whether examples of the run are wanted. Without them its data need not be at hand.

    Raises:
      ValueError: there is no run in the folder, or it is not finished; or its data are wanted and
        not at hand, or have changed.
    """
    if (workdir / 'config.json').exists() and not (workdir / 'report.json').exists():
        raise ValueError(
            f'The run in {workdir} is not finished (no report.json); '
            'the command that started it goes on where it stopped.'
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
            stages.append(Stage(experiment, state, names, folder, data))
    return stages


def check_network(name: str, stages: list[Stage]) -> None:
    """Raises ValueError where the run has no network of that name."""
    there = [n for stage in stages for n in stage.names.values()]
    if name not in there:
        raise ValueError(f'The run has no network {name!r}; give one of {", ".join(there)}.')


def find_network(name: str, stages: list[Stage]) -> tuple[Stage, str]:
    """The stage that has the network of that name, and its name there; ValueError for none."""
    check_network(name, stages)
    return next((s, inner) for s in stages for inner, n in s.names.items() if n == name)


def check_output(path: str) -> None:
    """Raises ValueError where a file can not be written for want of its folder."""
    folder = epath.Path(path).parent
    if not folder.is_dir():
        raise ValueError(f'{path} can not be written: there is no folder {folder}; make it first.')
    if epath.Path(path).is_dir():
        raise ValueError(f'{path} is a folder; give the name of a file.')


def find_examples(experiment: Experiment, split: str) -> tuple[Pool, np.ndarray]:
    """The pool that holds a split's examples, and their numbers in it, ascending, each once.

    Args:
      experiment: the run whose split it is.
      split: one of SPLITS; 'train' is every example that is not held out.

    Raises:
      ValueError: the name is unknown, or the run has no such examples.
    """
    if split not in SPLITS:
        raise ValueError(f'The split {split!r} is unknown; give one of {", ".join(SPLITS)}.')
    source, drawn = experiment.source, experiment.split
    if split == 'test':
        pool, numbers = source.test, np.arange(len(source.test.label) if source.test else 0)
    elif split == 'validation':
        pool, numbers = experiments.validation(experiment)
    elif split == 'train':
        pool, numbers = source.train, np.union1d(drawn.labeled, drawn.unlabeled)
    else:
        pool, numbers = source.train, np.unique(getattr(drawn, split))
    if not len(numbers):
        raise ValueError(f'The run has no {split} examples; give another of {", ".join(SPLITS)}.')
    return pool, numbers


def evaluate(workdir: epath.Path, split: str, chosen: list[str]) -> dict:
    """Measures networks of a finished run on a whole split.

    Args:
      workdir: of the run.
      split: one of SPLITS.
      chosen: names of networks as in the report; empty for all.

    Returns:
      JSON-able; accuracies are shares, nll is in nats, confusion counts true class by
      predicted class. accuracy_by_class is None for a class without examples.

    Raises:
      ValueError: there is no such run, split or network, or no label to measure by.
    """
    stages = load(workdir)
    for name in chosen:
        check_network(name, stages)
    experiment = stages[0].experiment
    pool, numbers = find_examples(experiment, split)
    label = pool.label[numbers]
    known = label >= 0
    if not known.any():
        raise ValueError(
            f'No {split} example has a label to measure by; mpl.predict gives them labels.'
        )
    networks = {}
    for stage in stages:
        forward = measure.make_forward(stage.experiment)
        said = measure.outputs(stage.experiment, forward, stage.state, pool, numbers)
        for inner, name in stage.names.items():
            if not chosen or name in chosen:
                networks[name] = _numbers(said[inner].logits[known], label[known])
    return {
        'workdir': str(workdir),
        'split': split,
        'split_hash': experiment.split.hash,
        'examples': int(known.sum()),
        'examples_without_label': int(np.sum(~known)),
        'classes': list(experiment.source.classes),
        'networks': networks,
    }


def show(result: dict) -> str:
    """The result as tables."""
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
        tables.append(f'Of the {len(classes)} classes one by one: see the file of --json.')
    without = result['examples_without_label']
    return '\n\n'.join(tables) + (
        f'\n\n{result["examples"]} {result["split"]} examples'
        + (f' ({without} more have no label)' if without else '')
        + f' of {result["workdir"]}, split {result["split_hash"]}, last checkpoint.'
    )


def _numbers(logits, label):
    confusion = measure.confusion(logits, label)
    return measure.summarize(logits, label) | {
        'accuracy_by_class': [
            float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(confusion)
        ],
        'confusion': confusion.tolist(),
    }


def _table(rows, headers):
    return tabulate(
        rows, headers, colalign=['left'] + ['right'] * (len(headers) - 1), disable_numparse=True
    )
