"""The teacher of a run: one or several networks, trained before, that label all training examples once.

Its run is in <workdir>/teacher. Its logits are in <workdir>/logits.npy, one row per example of the
training pool. If examples are selected, the split for training is in <workdir>/selected.json and the
counts are in selected_counts.json. Each file is made once, resumed if incomplete, and refused if its
provenance differs from the teacher and the data of this run.
"""

from etils import epath
from ml_collections import ConfigDict

from mpl.data import ranking, selection
from mpl.data.selection import Rule
from mpl.parallel import processes
from mpl.run import (
    data_record,
    evaluation,
    folders,
    identity,
    paths,
    provenance,
    records,
    selection_shards,
    split_files,
    teacher_logits,
)
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

COUNTS = 'selected_counts.json'


def check_section(config: ConfigDict) -> None:
    """Refuses inconsistent keys of the section `teacher`.

    Raises:
      ValueError: names the keys.
    """
    stage = config.teacher
    given = [key for key in ('config', 'workdir', 'logits') if stage[key]]
    if len(given) > 1:
        raise ValueError(f'teacher has both a {given[0]} and a {given[1]}; give one of them.')
    rule = _rule(config)
    if not experiments.has_teacher(config) and rule != Rule():
        raise ValueError(
            'teacher.per_class, confidence and balance select by the logits of a teacher; give '
            'teacher.config, teacher.workdir or teacher.logits too.'
        )
    try:
        selection.check(rule)
    except ValueError as error:
        raise ValueError(f'teacher.{error}') from error
    if rule.confidence and not rule.per_class:
        raise ValueError(
            f'teacher.confidence is {rule.confidence}, but teacher.per_class is 0, which keeps every '
            'example; give per_class above 0; the number of examples keeps all confident ones.'
        )


def check(experiment: Experiment, teacher: Experiment) -> None:
    """Refuses a teacher without the network of `teacher.network`, before it is trained.

    Raises:
      ValueError: the teacher has no network of that name.
    """
    names = [*teacher.algorithm.networks(teacher.state)]
    names += ['finetuned'] if teacher.config.finetune.steps else []
    name = experiment.config.teacher.network
    if name not in names:
        raise ValueError(f'teacher.network is {name!r}; the teacher has {", ".join(names)}.')


def check_run(experiment: Experiment, workdir: epath.Path) -> None:
    """Refuses a teacher.workdir that is not a finished run of the same data and split.

    A missing teacher is allowed if this run has its logits.

    Raises:
      ValueError: the folder of this run is in a bucket; or the run of the teacher is missing or not
        finished, or its data, split or networks differ.
    """
    stage = experiment.config.teacher
    if experiments.has_teacher(experiment.config) and paths.is_remote(workdir):
        raise ValueError(
            f'A run with a teacher maps the logits in its folder into memory; {workdir} is in a '
            'bucket: give a folder on a disk.'
        )
    if stage.logits and not (workdir / teacher_logits.FILE).exists():
        teacher_logits.read_files(experiment)
    if not stage.workdir:
        return
    folder = epath.Path(paths.parse(stage.workdir, 'teacher.workdir'))
    if (workdir / teacher_logits.FILE).exists() and not folder.exists():
        return
    stages = evaluation.load(folder)
    evaluation.find_network(stage.network, stages)
    there, here = stages[0].data, data_record.make(experiment)
    if there['split'] != here['split']:
        raise ValueError(
            f'teacher.workdir {folder} has another split than this run (hash {there["split"]}, here '
            f'{here["split"]}); give both the same split section and seed.'
        )
    if lines := identity.differences(identity.index_record(there), identity.index_record(here)):
        raise ValueError(
            f'teacher.workdir {folder} is a run of other data ({"; ".join(lines)}); give another one.'
        )


def label(experiment: Experiment, workdir: epath.Path) -> Experiment:
    """The run with the logits of its teacher and the selected split; computes missing ones.

    Args:
      experiment: the run; returned unchanged if it has no teacher.
      workdir: its folder; the run of the teacher is finished.

    Raises:
      ValueError: the selection is empty, or existing files have another provenance.
    """
    if not experiments.has_teacher(experiment.config):
        return experiment
    rows = teacher_logits.compute(experiment, workdir)
    rule = _rule(experiment.config)
    if rule.per_class:
        made_by = {'logits': rows.made_by, 'rule': rule._asdict(), 'split': experiment.split.hash}
        if processes.is_primary() and not (workdir / folders.SELECTED).exists():
            _select(experiment, made_by, rows, workdir)
        processes.wait('selected')
        _, made = split_files.read(workdir / folders.SELECTED, data_record.make(experiment))
        changed = [key for key in ('rule', 'split') if made[key] != made_by[key]]
        if changed or provenance.differences(made['logits'], made_by['logits']):
            raise ValueError(
                f'{workdir / folders.SELECTED} was not selected by the logits and settings of this run; '
                'delete it, and it is made again.'
            )
    return folders.select(experiment, workdir)._replace(logits=rows)


def selection_counts(experiment: Experiment, workdir: epath.Path) -> dict:
    """For the report: {'selected': counts of the selection}; empty if all examples are kept."""
    if not _rule(experiment.config).per_class:
        return {}
    path = workdir / COUNTS
    counts = records.read(path, 'the counts of a selection', f'delete {folders.SELECTED} beside it')
    return {'selected': {key: value for key, value in counts.items() if key != 'made_by'}}


def _select(experiment, made_by, rows, workdir):
    """Writes the selected split, and the counts of the selection."""
    rule = Rule(**made_by['rule'])
    examples, classes = rows.shape
    candidates = selection.find_candidates(experiment.split, examples)
    with selection_shards.open_scratch(str(workdir / folders.SELECTED)) as folder:
        part, settings = f'{folder}/all.parquet', made_by | {'shard': (0, 1)}
        selection_shards.write_part(part, [rows], candidates, None, settings)
        found = ranking.rank([part], rule, candidates, None, classes, folder)
        chosen = selection.apply(found, rule, experiment.split)
        counts = selection.summarize(found, int(candidates.sum()))
        records.write(workdir / COUNTS, counts | {'made_by': made_by})
        split_files.write(workdir / folders.SELECTED, chosen, data_record.make(experiment), made_by)


def _rule(config):
    stage = config.teacher
    return Rule(stage.confidence, stage.per_class, stage.balance)
