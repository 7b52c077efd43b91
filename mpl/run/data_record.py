"""The record of a run's data (data.json), and checks that the data have not changed."""

import json
from collections.abc import Iterable

from etils import epath
from ml_collections import ConfigDict

from mpl.data.source import Source
from mpl.data.splits import Split
from mpl.run import experiment as experiments
from mpl.run import identity, records, split_files
from mpl.run.experiment import Experiment

FILE, LABELS = 'data.json', 'label_values'


def make(experiment: Experiment) -> dict:
    """The record of a run's data, with the hash of its split under 'split', JSON-serializable."""
    return identity.make(experiment.source) | {'split': experiment.split.hash}


def write(experiment: Experiment, workdir: epath.Path) -> dict:
    """Writes the record and the labels, which name changed examples later; returns it without labels."""
    record = make(experiment)
    records.write(workdir / FILE, record | {LABELS: identity.pack_labels(experiment.source)})
    return record


def read(workdir: epath.Path) -> tuple[dict, dict[str, str]]:
    """The record of the data of a run, and the packed labels of each part.

    Raises:
      ValueError: the record is missing or was changed.
    """
    path = workdir / FILE
    if not path.exists():
        raise ValueError(f'{workdir} holds no run (no {FILE}); give the --workdir of one.')
    record = records.read(path, 'the record of the data of a run', 'train again in another folder')
    labels = record.pop(LABELS)
    return record, labels


def read_split(workdir: epath.Path) -> tuple[Split, dict]:
    """The initial split of a run, and the record of its data.

    Raises:
      ValueError: one of them is missing or was changed.
    """
    record, _ = read(workdir)
    split, _ = split_files.read(workdir / 'split.json', record)
    if split.hash != record['split']:
        raise ValueError(
            f'{workdir}/split.json has the hash {split.hash}, but the run started with {record["split"]}; '
            'restore the split, or train again.'
        )
    return split, record


def has_started(workdir: epath.Path) -> bool:
    """Whether the folder has a run to resume."""
    return (workdir / FILE).exists() or (workdir / 'checkpoints').exists()


def read_source(config: ConfigDict, workdir: epath.Path, source: Source | None = None) -> Source:
    """The data set of a started run, checked against its record.

    Args:
      config: of the run.
      workdir: its folder.
      source: the data set, if it is loaded already.

    Raises:
      ValueError: the data are missing or have changed; names the differences.
    """
    try:
        source = experiments.read_source(config) if source is None else source
        record = identity.make(source)
    except (ValueError, OSError) as error:
        raise ValueError(
            f'The data of the run in {workdir} cannot be read ({str(error).rstrip(".")}); where they '
            'have been moved, run the training command with their new path '
            '(--config.source.path=...), which records it. mpl.predict --images needs no data.'
        ) from error
    check(record, workdir, source)
    return source


def check(record: dict, workdir: epath.Path, source: Source) -> None:
    """Refuses data that differ from those of the run in a folder: indices would mean other images.

    Args:
      record: of the present data; the split is compared if it has one.
      workdir: of the run.
      source: the present data, for the names of examples.

    Raises:
      ValueError: names the differences.
    """
    old, labels = read(workdir)
    if lines := identity.differences(old, record, labels, source):
        raise ValueError(
            f'The data of the run in {workdir} have changed since it started ({"; ".join(lines)}); '
            'restore them, or give another --workdir.'
        )


def check_same_data(
    runs: Iterable[tuple[ConfigDict, epath.Path]], new: Iterable[tuple[ConfigDict, dict]] = ()
) -> None:
    """Refuses to compare runs of the same source config that were trained on different data.

    Splits may differ, as they do between seeds.

    Args:
      runs: their configs and folders; runs that have not started are skipped.
      new: configs of new runs, and records of the present data.

    Raises:
      ValueError: names two such runs and the differences.
    """
    found = [(c, str(w), read(w)[0]) for c, w in runs if (w / FILE).exists()]
    found += [(config, 'a new run', record) for config, record in new]
    first = {}
    for config, name, record in found:
        key = json.dumps([config.source.to_dict(), config.split.unlabeled_only], sort_keys=True)
        record = {part: value for part, value in record.items() if part != 'split'}
        other, known = first.setdefault(key, (name, record))
        if lines := identity.differences(known, record):
            raise ValueError(
                f'{other} was trained on other data than {name} is ({"; ".join(lines)}), so their '
                'results cannot be compared; restore the data, or give another --workdir.'
            )
