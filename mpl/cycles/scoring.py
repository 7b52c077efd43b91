"""What a rule gets: features and logits of the pool, in files of rows that resume."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from mpl.cycles import study as studies
from mpl.cycles.study import Study
from mpl.data import stream
from mpl.run import (
    data_record,
    evaluation,
    prediction,
    provenance,
    random_passes,
    row_files,
    weights,
)
from mpl.run import experiment as experiments
from mpl.run.evaluation import FinishedRun


class Inputs(NamedTuple):
    """The inputs of a rule, and the record of what made them."""

    features: np.ndarray  # [N, D], or a file of rows
    logits: Sequence[np.ndarray]  # S of [N, K]
    made_by: dict


def of_cycle(study: Study, cycle: int) -> Inputs:
    """By the network of a finished cycle (measure.result), for its labeled and unlabeled images."""
    folder = study.folder(cycle)
    stages = evaluation.load(folder, None if study.asks else study.source)
    name = evaluation.default_network(stages)
    stage, inner = evaluation.find_network(name, stages)
    examples = evaluation.find_examples(stages[0].experiment, 'train')
    made_by = provenance.make(stage, name, 'train')
    both = {
        kind: str(folder / f'{kind.name}.npy') for kind in (row_files.LOGITS, row_files.FEATURES)
    }
    plain, features = prediction.write_rows(stage, inner, examples, both, made_by)
    active = study.config.active
    if active.logits == 'labels':
        return Inputs(features, _oracle(stage.experiment.source), made_by)
    if active.logits == 'network':
        return Inputs(features, [plain], made_by)
    kind, make_pass = random_passes.MAKES[active.logits]
    root = stream.derive(jax.random.key(study.config.seed), cycle, 'acquire')
    logits = []
    for n in range(active.passes):
        path = {row_files.LOGITS: str(folder / f'logits_{kind}_{n}.npy')}
        made = made_by | {'network': f'{name}, random {kind} {n}'}
        one = make_pass(stage.experiment, jax.random.fold_in(root, n), n)
        logits += prediction.write_rows(stage, inner, examples, path, made, one)
    return Inputs(features, logits, made_by)


def of_start(study: Study) -> Inputs:
    """Before the first training: standardized pixels, or features of the initial weights."""
    experiment, source = studies.assemble(study), study.source
    logits = np.zeros((0, len(source.train.label), len(source.classes)), np.float32)
    if study.config.active.logits == 'labels':
        logits = _oracle(source)
    if study.config.active.start_from == 'pixels':
        return Inputs(_Pixels(experiment), logits, {'pixels': data_record.make(experiment)})
    starts = weights.find(experiment)
    state = experiments.initialize(experiment, starts)
    network = 'student' if 'student' in starts else next(iter(starts))
    folder = study.folder(0)
    data = data_record.make(experiment)
    stage = FinishedRun(experiment, state, {network: network}, folder, data)
    made_by = provenance.make(stage, network, 'train')
    numbers = np.union1d(study.labeled, study.candidates)
    path = {row_files.FEATURES: str(folder / 'start_features.npy')}
    examples = source.train, numbers
    (features,) = prediction.write_rows(stage, network, examples, path, made_by)
    return Inputs(features, logits, made_by)


class _Pixels:
    """Standardized pixels of the images as rows float32 [N, H W C], read when they are indexed."""

    def __init__(self, experiment):
        self._pool, self._evaluate = experiment.source.train, experiment.views.evaluate
        self.shape = len(self._pool.label), int(np.prod(experiment.source.image_shape))

    def __getitem__(self, numbers):
        image = np.asarray(self._evaluate(self._pool.read(np.asarray(numbers))), np.float32)
        return image.reshape(len(numbers), -1)


def _oracle(source):
    """The true labels as one-hot logits [1, N, K]; zeros for images of no class."""
    classes = len(source.classes)
    table = np.eye(classes + 1, classes, dtype=np.float32)
    return [_Table(table, source.train.label)]


class _Table:
    """Rows of a table by the label of an image; -1 is its last row."""

    def __init__(self, table, label):
        self._table, self._label, self.shape = table, label, (len(label), table.shape[1])

    def __getitem__(self, numbers):
        return self._table[self._label[numbers]]
