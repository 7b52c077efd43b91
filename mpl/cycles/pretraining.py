"""The pre-training of a study: once, on the whole pool, before the first image is chosen."""

import numpy as np
from ml_collections import ConfigDict

from mpl.cycles import study as studies
from mpl.cycles.study import Study
from mpl.data import splits
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import identity, split_files, stages, weights


def check(study: Study) -> None:
    """Refuses a pre-training that cannot be made or whose weights do not fit; writes nothing.

    Raises:
      ValueError: see `weights.check`.
    """
    stage = experiments.assemble(_config(study), source=study.source, split=_split(study))
    weights.check(studies.assemble(study), stage)


def run(study: Study) -> None:
    """Trains it, or resumes it; nothing is left to do if it is finished.

    Raises:
      Those of `stages.run`.
    """
    path = _split_path(study)
    if not path.exists():
        made_by = {'pre-training': 'of a study'}
        split_files.write(path, _split(study), identity.make(study.source), made_by)
    stages.run(_config(study), studies.pretrained(study), study.source)


def _config(study: Study) -> ConfigDict:
    """The config of init_from.config, on the split of `_split`."""
    given = study.config.to_dict()
    stage = given['init_from']['config'] | {key: given[key] for key in ('seed', 'source')}
    stage['split'] = studies.split_section(study.config, _split_path(study))
    return configs.complete(stage)


def _split(study):
    """All images of the pool without their labels, but for those that somebody has given."""
    unlabeled = study.candidates
    if study.config.split.unlabeled_includes_labeled:
        unlabeled = np.union1d(study.labeled, unlabeled)
    return splits.from_indices(study.labeled, unlabeled, study.validation)


def _split_path(study):
    return study.workdir / 'pretrain_split.json'
