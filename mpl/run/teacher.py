"""The teacher of a run: a network, trained before, that labels all training examples, once.

Its folder is <workdir>/teacher, a run of its own. What it says lies in <workdir>/logits.npy, a row
for each example of the training pool, by number; where it selects, the split that is trained on
lies in <workdir>/selected.json, and what became of the others in selected_counts.json. Each is made
once, goes on where it was stopped, and carries what made it: where that is not the teacher and the
data of this run, it is refused.
"""

import contextlib

import numpy as np
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from mpl.data import selection
from mpl.data.selection import Rule
from mpl.parallel import processes
from mpl.run import (
    data_record,
    evaluation,
    identity,
    logits,
    paths,
    prediction,
    provenance,
    records,
    split_files,
)
from mpl.run import experiment as experiments
from mpl.run import workdir as folders
from mpl.run.evaluation import Stage
from mpl.run.experiment import Experiment

LOGITS, COUNTS = 'logits.npy', 'selected_counts.json'


def check_section(config: ConfigDict) -> None:
    """Refuses keys of the section `teacher` that contradict each other.

    Raises:
      ValueError: names them.
    """
    stage = config.teacher
    if stage.config and stage.workdir:
        raise ValueError('teacher has both a config and a workdir; give one of them.')
    rule = _rule(config)
    if not experiments.has_teacher(config) and rule != Rule():
        raise ValueError(
            'teacher.per_class, confidence and balance select by what a teacher says; give '
            'teacher.config or teacher.workdir too.'
        )
    try:
        selection.check(rule)
    except ValueError as error:
        raise ValueError(f'teacher.{error}') from error
    if rule.confidence and not rule.per_class:
        raise ValueError(
            f'teacher.confidence is {rule.confidence}, but teacher.per_class is 0, which keeps every '
            'example; give per_class above 0, as many as there are to keep all the confident ones.'
        )


def check(experiment: Experiment, teacher: Experiment) -> None:
    """Refuses a teacher that does not fit, before it is trained.

    Raises:
      ValueError: it has no network of the name.
    """
    names = [*teacher.algorithm.networks(teacher.state)]
    names += ['finetuned'] if teacher.config.finetune.steps else []
    name = experiment.config.teacher.network
    if name not in names:
        raise ValueError(f'teacher.network is {name!r}; the teacher has {", ".join(names)}.')


def check_run(experiment: Experiment, workdir: epath.Path) -> None:
    """Refuses a teacher.workdir that is no finished run of the same data; not once it has labeled.

    Raises:
      ValueError: the folder of this run is in a bucket; or the run of the teacher is not there or
        not finished, or its data, split or networks are other ones.
    """
    stage = experiment.config.teacher
    if experiments.has_teacher(experiment.config) and paths.is_remote(workdir):
        raise ValueError(
            f'A run with a teacher maps the logits in its folder into memory; {workdir} is in a '
            'bucket: give a folder on a disk.'
        )
    if not stage.workdir:
        return
    place = epath.Path(paths.parse(stage.workdir, 'teacher.workdir'))
    if (workdir / LOGITS).exists() and not place.exists():
        return
    stages = evaluation.load(place)
    evaluation.find_network(stage.network, stages)
    there, here = stages[0].data, data_record.make(experiment)
    if there['split'] != here['split']:
        raise ValueError(
            f'teacher.workdir {place} has another split than this run (hash {there["split"]}, here '
            f'{here["split"]}); give both the same split section and seed.'
        )
    if lines := identity.differences(identity.index_record(there), identity.index_record(here)):
        raise ValueError(
            f'teacher.workdir {place} is a run of other data ({"; ".join(lines)}); give another one.'
        )


def label(experiment: Experiment, workdir: epath.Path) -> Experiment:
    """The run with what its teacher says, and selects; made now where it is not there yet.

    Args:
      experiment: the run; one without a teacher is given back.
      workdir: its folder; the teacher's run is finished.

    Raises:
      ValueError: the selection keeps nothing, or what is there was made by something else.
    """
    if not experiments.has_teacher(experiment.config):
        return experiment
    rows = _ask(experiment, workdir)
    rule = _rule(experiment.config)
    if rule.per_class:
        made_by = {'logits': rows.made_by, 'rule': rule._asdict(), 'split': experiment.split.hash}
        if processes.leads() and not (workdir / folders.SELECTED).exists():
            _select(experiment, made_by, rows, workdir)
        processes.wait('selected')
        _, made = split_files.read(workdir / folders.SELECTED, data_record.make(experiment))
        others = [key for key in ('rule', 'split') if made[key] != made_by[key]]
        if others or provenance.differences(made['logits'], made_by['logits']):
            raise ValueError(
                f'{workdir / folders.SELECTED} was not selected by the logits and numbers of this run; '
                'delete it, and it is made anew.'
            )
    return folders.select(experiment, workdir)._replace(logits=rows)


def selection_counts(experiment: Experiment, workdir: epath.Path) -> dict:
    """For the report: {'selected': what became of the unlabeled examples}; empty where all are kept."""
    if not _rule(experiment.config).per_class:
        return {}
    path = workdir / COUNTS
    counts = records.read(path, 'what a selection counted', f'delete {folders.SELECTED} beside it')
    return {'selected': {key: value for key, value in counts.items() if key != 'made_by'}}


def _ask(experiment: Experiment, workdir: epath.Path) -> logits.Rows:
    """The logits of all labeled and unlabeled examples, in a file; those that are missing are made now."""
    path, stage = str(workdir / LOGITS), experiment.config.teacher
    _, numbers = evaluation.find_examples(experiment, 'train')
    place = workdir / 'teacher'
    if stage.workdir:
        place = epath.Path(paths.parse(stage.workdir, 'teacher.workdir'))
        if not place.exists():
            return _complete(path, numbers, experiment)
    stages = evaluation.load(place, experiment.source if stage.config else None)
    teacher, inner = evaluation.find_network(stage.network, stages)
    made_by = provenance.make(teacher, stage.network, 'train')
    with contextlib.ExitStack() as stack:
        if processes.leads():
            shape = len(experiment.source.train.label), len(experiment.source.classes)
            rows = stack.enter_context(logits.open_rows(path, *shape, made_by))
        processes.wait('opened')
        if not processes.leads():
            rows = logits.read(path)
        left = logits.missing(rows, numbers)
        processes.wait('counted')  # Before a row is written.
        if len(left):
            _write(
                rows, prediction.predict(teacher, inner, _chunks(teacher, left)), stage, len(left)
            )
    processes.wait('labeled')
    return logits.read(path)


def _complete(path: str, numbers: np.ndarray, experiment: Experiment) -> logits.Rows:
    """The logits of a teacher that is not there any more.

    Raises:
      ValueError: some are missing, or they are of another network or other data.
    """
    rows, network = logits.read(path), experiment.config.teacher.network
    provenance.check_data(rows.made_by, data_record.make(experiment), path, epath.Path(path).parent)
    if len(left := logits.missing(rows, numbers)) or rows.made_by['network'] != network:
        raise ValueError(
            f'{path} lacks {len(left):,} of {len(numbers):,} examples or is not of {network!r}, and '
            f'teacher.workdir {experiment.config.teacher.workdir} is not there; bring that run back.'
        )
    return rows


def _chunks(teacher: Stage, left: np.ndarray):
    size = teacher.experiment.config.batch.evaluate
    return prediction.from_pool(teacher.experiment.source.train, left, size)


def _write(rows, said, stage, total):
    """Writes what the teacher says, in the process that leads; all of them compute it."""
    with tqdm(
        total=total,
        unit='image',
        desc=f'{stage.network} labels',
        dynamic_ncols=True,
        disable=not processes.leads(),
    ) as bar:
        for names, _, _ in logits.store(rows, said) if processes.leads() else said:
            bar.update(len(names))


def _select(experiment, made_by, rows, workdir):
    """Writes which unlabeled examples are kept, and how many of each class."""
    rule = Rule(**made_by['rule'])
    part = selection.scan([rows], experiment.split.unlabeled, rule)
    chosen = selection.apply(part, rule, experiment.split)
    counts = selection.summarize(part, rule, rows.shape[1])
    records.write(workdir / COUNTS, counts | {'made_by': made_by})
    split_files.write(workdir / folders.SELECTED, chosen, data_record.make(experiment), made_by)


def _rule(config):
    stage = config.teacher
    return Rule(stage.confidence, stage.per_class, stage.balance)
