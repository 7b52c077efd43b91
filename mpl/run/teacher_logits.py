"""The logits of a teacher for all training examples, computed once or read from files.

They are in <workdir>/logits.npy, one row per example of the training pool.
"""

import contextlib
import os

import numpy as np
from etils import epath
from tqdm import tqdm

from mpl.parallel import processes
from mpl.run import (
    averaged_logits,
    data_record,
    evaluation,
    paths,
    prediction,
    provenance,
    row_files,
)
from mpl.run.evaluation import FinishedRun
from mpl.run.experiment import Experiment

FILE = 'logits.npy'


def compute(experiment: Experiment, workdir: epath.Path) -> row_files.Rows:
    """The logits of all labeled and unlabeled examples, in a file; computes missing rows."""
    path, stage = str(workdir / FILE), experiment.config.teacher
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


def read_files(experiment: Experiment) -> list[row_files.Rows]:
    """The files of teacher.logits, checked against the data of the run, see averaged_logits.read."""
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
        files = read_files(experiment)
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
