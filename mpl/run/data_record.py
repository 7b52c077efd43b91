"""The data of a run, kept in its folder as a record (data.json), and whether they are still the same."""

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
    """The record of a run's data, and the hash of its split under 'split', JSON-able."""
    return identity.make(experiment.source) | {'split': experiment.split.hash}


def write(experiment: Experiment, workdir: epath.Path) -> dict:
    """Writes the record, with the labels so that changed ones can be named; returns it without."""
    record = make(experiment)
    records.write(workdir / FILE, record | {LABELS: identity.pack_labels(experiment.source)})
    return record


def read(workdir: epath.Path) -> tuple[dict, dict[str, str]]:
    """The record of the data that a run was trained on; and the labels of each part, packed.

    Raises:
      ValueError: there is none, or it was changed.
    """
    path = workdir / FILE
    if not path.exists():
        raise ValueError(f'{workdir} holds no run (no {FILE}); give the --workdir of one.')
    record = records.read(path, 'the record of the data of a run', 'train anew in another folder')
    labels = record.pop(LABELS)
    return record, labels


def read_split(workdir: epath.Path) -> tuple[Split, dict]:
    """The split that a run began with, and the record of its data.

    Raises:
      ValueError: one of them is not there or was changed.
    """
    record, _ = read(workdir)
    split, _ = split_files.read(workdir / 'split.json', record)
    if split.hash != record['split']:
        raise ValueError(
            f'{workdir}/split.json has the hash {split.hash}, but the run began with {record["split"]}; '
            'bring the split back, or train anew.'
        )
    return split, record


def has_begun(workdir: epath.Path) -> bool:
    """Whether there is a run in the folder that has data to go on with."""
    return (workdir / FILE).exists() or (workdir / 'checkpoints').exists()


def read_source(config: ConfigDict, workdir: epath.Path, source: Source | None = None) -> Source:
    """The data set of a run that has begun, which is still the one it was trained on.

    Args:
      config: of the run.
      workdir: its folder.
      source: the data set, where it is at hand already.

    Raises:
      ValueError: the data are not there, or have changed; names what differs.
    """
    try:
        source = experiments.read_source(config) if source is None else source
        record = identity.make(source)
    except (ValueError, OSError) as error:
        raise ValueError(
            f'The data of the run in {workdir} can not be read ({str(error).rstrip(".")}); where they '
            'have been moved, run the training command with their new place '
            '(--config.source.path=...), which writes it down. mpl.predict --images needs no data.'
        ) from error
    check(record, workdir, source)
    return source


def check(record: dict, workdir: epath.Path, source: Source) -> None:
    """Refuses other data than those of the run in a folder: numbers of examples would mean other images.

    Args:
      record: of the data at hand; the split is compared where it has one.
      workdir: of the run.
      source: the data at hand, to name examples of.

    Raises:
      ValueError: names what differs.
    """
    old, labels = read(workdir)
    if lines := identity.differences(old, record, labels, source):
        raise ValueError(
            f'The data of the run in {workdir} have changed since it began ({"; ".join(lines)}); '
            'bring them back, or give another --workdir.'
        )


def check_same_data(
    runs: Iterable[tuple[ConfigDict, epath.Path]], new: Iterable[tuple[ConfigDict, dict]] = ()
) -> None:
    """Refuses to compare runs whose configs name one data set, but that were trained on different data.

    Splits may differ, as those of several seeds do.

    Args:
      runs: their configs and folders; one that has not begun is passed over.
      new: configs of runs that are yet to begin, and records of the data at hand.

    Raises:
      ValueError: names two such runs, and what differs.
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
                'results can not be compared; bring the data back, or give another --workdir.'
            )
