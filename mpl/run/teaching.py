"""The stage before a run: a network, trained first, labels all training examples, once.

Its folder is <workdir>/teacher, a run of its own. What it says lies in <workdir>/logits.npy, a row
for each example of the training pool, by number; where it selects, the split that is trained on
lies in <workdir>/selected.json. Each is made once, and goes on where it was stopped.
"""

import os

from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from mpl.data import selection, splits
from mpl.data.selection import Rule
from mpl.parallel import processes
from mpl.run import config as configs
from mpl.run import evaluation as evaluate
from mpl.run import experiment as experiments
from mpl.run import logits, paths, records
from mpl.run import prediction as predict
from mpl.run import workdir as folders
from mpl.run.experiment import Experiment

LOGITS, COUNTS = 'logits.npy', 'selected_counts.json'
REMEDY = 'delete it and selected.json, and they are made again'


def stage_config(config: ConfigDict) -> ConfigDict | None:
    """The config of the run that trains the teacher of a run; None where none is to be trained.

    Raises:
      ValueError: numbers of the section are not allowed, or contradict each other.
    """
    stage = config.teacher
    if stage.config and stage.workdir:
        raise ValueError('teacher has both a config and a workdir; give one of them.')
    rule = _rule(config)
    if not experiments.is_taught(config) and rule != Rule():
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
    if not stage.config:
        return None
    return configs.complete(stage.config.to_dict())


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
      ValueError: the folder of this run is in a bucket, or the run is not there or not finished, or its data or networks are other ones.
    """
    stage = experiment.config.teacher
    if experiments.is_taught(experiment.config) and paths.is_remote(workdir):
        raise ValueError(
            f'A run with a teacher maps the logits in its folder into memory; {workdir} is in a '
            'bucket: give a folder on a disk.'
        )
    if not stage.workdir or (workdir / LOGITS).exists():
        return
    place = epath.Path(paths.parse(stage.workdir, 'teacher.workdir'))
    evaluate.find(stage.network, evaluate.load(place))
    there, here = folders.read_data(place), folders.data(experiment)
    if there['split'] != here['split']:
        raise ValueError(
            f'teacher.workdir {place} has another split than this run (hash {there["split"]}, here '
            f'{here["split"]}); give both the same split section and seed.'
        )
    if there != here:
        raise ValueError(f'teacher.workdir {place} is a run of other data; give another one.')


def label(experiment: Experiment, workdir: epath.Path) -> Experiment:
    """The run with what its teacher says, and selects; made now where it is not there yet.

    Args:
      experiment: the run; one without a teacher is given back.
      workdir: its folder; the teacher's run is finished.

    Raises:
      ValueError: the selection keeps nothing.
    """
    if not experiments.is_taught(experiment.config):
        return experiment
    if not (workdir / LOGITS).exists():
        _ask(experiment, workdir)
    rows = logits.read(str(workdir / LOGITS))
    rule = _rule(experiment.config)
    chooses = rule.per_class and processes.leads()
    if chooses and not (workdir / folders.SELECTED).exists():
        _select(experiment, rule, rows, workdir)
    processes.wait('selected')
    return folders.select(experiment, workdir)._replace(logits=rows)


def selected(experiment: Experiment, workdir: epath.Path) -> dict:
    """For the report: {'selected': what became of the unlabeled examples}; empty where all are kept."""
    if not _rule(experiment.config).per_class:
        return {}
    place = workdir / COUNTS
    return {'selected': records.read(place, 'the counts of a selection', REMEDY)}


def _ask(experiment, workdir):
    """Writes the logits of all labeled and unlabeled examples."""
    stage, source = experiment.config.teacher, experiment.source
    if stage.config:
        stages = evaluate.load(workdir / 'teacher', source)
    else:
        place = paths.parse(stage.workdir, 'teacher.workdir')
        stages = evaluate.load(epath.Path(place))
    teacher, inner = evaluate.find(stage.network, stages)
    beside = str(workdir / f'partial_{LOGITS}')
    if processes.leads():
        logits.open_rows(beside, len(source.train.label), len(source.classes))
    processes.wait('opened')
    rows = logits.open_rows(beside, len(source.train.label), len(source.classes))
    _, numbers = evaluate.part(experiment, 'train')
    left = logits.missing(rows, numbers)
    processes.wait('counted')  # Before a row is written.
    chunks = predict.from_pool(
        teacher.experiment.source.train, left, teacher.experiment.config.batch.evaluate
    )
    with tqdm(
        total=len(left),
        unit='image',
        desc=f'{stage.network} labels',
        dynamic_ncols=True,
        disable=not processes.leads(),
    ) as bar:
        said = predict.predict(teacher, inner, chunks)
        for names, _, _ in logits.keep(rows, said) if processes.leads() else said:
            bar.update(len(names))
    if processes.leads():
        os.replace(beside, workdir / LOGITS)
    processes.wait('labeled')


def _select(experiment, rule, rows, workdir):
    """Writes which unlabeled examples are kept, and how many of each class."""
    part = selection.scan([rows], experiment.split.unlabeled, rule)
    chosen = selection.apply(part, rule, experiment.split)
    counts = selection.summarize(part, rule, rows.shape[1])
    records.write(workdir / COUNTS, counts)
    splits.save(str(workdir / folders.SELECTED), chosen, len(rows))


def _rule(config):
    stage = config.teacher
    return Rule(stage.confidence, stage.per_class, stage.balance)
