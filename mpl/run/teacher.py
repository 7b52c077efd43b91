"""The teacher of a run: one or several networks, trained before, that label all training examples once.

Its run is in <workdir>/teacher. Its logits are in <workdir>/logits.npy, one row per example of the
training pool. If examples are selected, the split for training is in <workdir>/selected.json and the
counts are in selected_counts.json. Each file is made once, resumed if incomplete, and refused if its
provenance differs from the teacher and the data of this run.
"""

import contextlib
import os

import numpy as np
from etils import epath
from ml_collections import ConfigDict
from tqdm import tqdm

from mpl.data import ranking, selection
from mpl.data.selection import Rule
from mpl.parallel import processes
from mpl.run import (
    averaged_logits,
    data_record,
    evaluation,
    identity,
    paths,
    prediction,
    provenance,
    records,
    selection_shards,
    split_files,
)
from mpl.run import experiment as experiments
from mpl.run import rows as row_files
from mpl.run import workdir as folders
from mpl.run.evaluation import FinishedRun
from mpl.run.experiment import Experiment

LOGITS, COUNTS = 'logits.npy', 'selected_counts.json'


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
    if stage.logits and not (workdir / LOGITS).exists():
        _read_files(experiment)
    if not stage.workdir:
        return
    folder = epath.Path(paths.parse(stage.workdir, 'teacher.workdir'))
    if (workdir / LOGITS).exists() and not folder.exists():
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
    rows = _compute_logits(experiment, workdir)
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


def _compute_logits(experiment: Experiment, workdir: epath.Path) -> row_files.Rows:
    """The logits of all labeled and unlabeled examples, in a file; computes missing rows."""
    path, stage = str(workdir / LOGITS), experiment.config.teacher
    _, indices = evaluation.find_examples(experiment, 'train')
    if stage.logits:
        return _average(experiment, path, indices)
    folder = workdir / 'teacher'
    if stage.workdir:
        folder = epath.Path(paths.parse(stage.workdir, 'teacher.workdir'))
        if not folder.exists():
            return _read_complete(path, indices, experiment)
    stages = evaluation.load(folder, experiment.source if stage.config else None)
    teacher, inner = evaluation.find_network(stage.network, stages)
    made_by = provenance.make(teacher, stage.network, 'train')
    with contextlib.ExitStack() as stack:
        if processes.is_primary():
            shape = len(experiment.source.train.label), len(experiment.source.classes)
            rows = stack.enter_context(row_files.open_rows(path, *shape, made_by))
        processes.wait('opened')
        if not processes.is_primary():
            rows = row_files.read(path)
        missing = row_files.missing(rows, indices)
        processes.wait('counted')  # Before a row is written.
        if len(missing):
            _write(
                rows,
                prediction.predict(teacher, inner, _chunks(teacher, missing)),
                stage,
                len(missing),
            )
    processes.wait('labeled')
    return row_files.read(path)


def _read_files(experiment):
    _, indices = evaluation.find_examples(experiment, 'train')
    return averaged_logits.read(
        experiment.config.teacher.logits,
        data_record.make(experiment),
        indices,
        len(experiment.source.classes),
    )


def _average(experiment: Experiment, path: str, indices: np.ndarray) -> row_files.Rows:
    """The mean of the files of teacher.logits, in a file; once it is complete, they are not needed."""
    data, stage = data_record.make(experiment), experiment.config.teacher
    shape = len(experiment.source.train.label), len(experiment.source.classes)
    is_complete = os.path.exists(path) and not len(row_files.missing(row_files.read(path), indices))
    if processes.is_primary() and not is_complete:
        files = _read_files(experiment)
        with row_files.open_rows(path, *shape, averaged_logits.describe(files, data)) as rows:
            chunks = averaged_logits.mean(files, indices, experiment.config.batch.evaluate)
            _write(rows, chunks, stage, len(indices))
    processes.wait('averaged')
    rows = row_files.read(path)
    provenance.check_data(rows.made_by, data, path, epath.Path(path).parent)
    return rows


def _read_complete(path: str, indices: np.ndarray, experiment: Experiment) -> row_files.Rows:
    """The logits of a teacher whose run is missing.

    Raises:
      ValueError: rows are missing, or they are of another network or other data.
    """
    rows, network = row_files.read(path), experiment.config.teacher.network
    provenance.check_data(rows.made_by, data_record.make(experiment), path, epath.Path(path).parent)
    if len(missing := row_files.missing(rows, indices)) or rows.made_by['network'] != network:
        raise ValueError(
            f'{path} lacks {len(missing):,} of {len(indices):,} examples or is not of {network!r}, and '
            f'teacher.workdir {experiment.config.teacher.workdir} is not there; restore that run.'
        )
    return rows


def _chunks(teacher: FinishedRun, indices: np.ndarray):
    size = teacher.experiment.config.batch.evaluate
    return prediction.from_pool(teacher.experiment.source.train, indices, size)


def _write(rows, predicted, stage, total):
    """Writes the outputs of the teacher in the first process; all processes compute them."""
    with tqdm(
        total=total,
        unit='image',
        desc='mean of logits' if stage.logits else f'{stage.network} labels',
        dynamic_ncols=True,
        disable=not processes.is_primary(),
    ) as bar:
        for names, _, _ in (
            row_files.store([rows], predicted) if processes.is_primary() else predicted
        ):
            bar.update(len(names))


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
