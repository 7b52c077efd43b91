"""The loop: choose images, get their labels, train a run, and again. See study.py for the folder.

    pretrain/  the run of init_from.config, if it learns from no label
    cycle_0/   config.json, acquired.json (the first images), split.json, then the run; by its
               network: logits.npy and features.npy
    cycle_1/   acquired.json (chosen by cycle_0), split.json, the run, ...

Every file gets its name when it is whole, and every choice is a function of the seed, the cycle and
these files, so that a study that is killed at any moment continues to the same bits.
"""

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mpl.cycles import acquired, labels, people, pretraining, report
from mpl.cycles import study as studies
from mpl.cycles.study import Study
from mpl.data import splits
from mpl.data.splits import Split
from mpl.parallel import processes
from mpl.run import folders, identity, records, split_files, stages


def run(config: ConfigDict, workdir: epath.Path) -> dict:
    """Runs a study, or resumes one of the same config, and returns its report.

    Raises:
      ValueError: the config, the folder or the pool is refused.
      people.Waiting: images wait for labels by people; the same call continues with them.
      Others as `stages.run`.
    """
    study = studies.make(config, workdir)
    if study.asks:
        people.check(study)
    studies.assemble(study)  # Refuses a config before anything is written.
    pretrained = studies.is_pretrained_once(config)
    if pretrained:
        pretraining.check(study)
    studies.prepare(study)
    with folders.lock(workdir):
        if pretrained:
            pretraining.run(study)
        before, numbers, found = None, np.zeros(0, np.int64), []
        for cycle in range(config.active.cycles + 1):
            study.folder(cycle).mkdir(exist_ok=True)
            record = acquired.acquire(study, cycle, before)
            numbers = np.union1d(numbers, np.array(record['numbers'], np.int64))
            answered = labels.answer(study, cycle, numbers)
            before = _next_split(study, answered)
            cycle_config = studies.cycle_config(study, cycle, answered.file)
            _write(study, cycle, cycle_config, before, answered, record)
            written = stages.run(cycle_config, study.folder(cycle), answered.source)
            found.append(report.Cycle(record, written, before, answered))
            processes.print_line(report.describe(study, found[-1]))
            if report.has_settled(study, found):
                break
        return report.write(study, found)


def _next_split(study: Study, answered: labels.Answered) -> Split:
    """The split of a cycle: labels move images, skipped ones leave the pool."""
    labeled = np.union1d(study.labeled, answered.labeled)
    unlabeled = np.setdiff1d(np.union1d(study.labeled, study.candidates), answered.skipped)
    if not study.config.split.unlabeled_includes_labeled:
        unlabeled = np.setdiff1d(unlabeled, labeled)
    if not len(labeled):
        raise ValueError(
            'None of the images that were asked for has a class that is learned, so there is '
            'nothing to train on; give a larger active.start.'
        )
    return splits.from_indices(labeled, unlabeled, study.validation)


def _write(study, cycle, config, split, answered, record):
    """Writes the config and the split of a cycle, if they are not there; its run reads both."""
    folder = study.folder(cycle)
    if not (folder / 'config.json').exists():
        records.write(folder / 'config.json', config.to_dict())
    path, data = folder / 'split.json', identity.make(answered.source)
    if not path.exists():
        split_files.write(path, split, data, {'acquired': record['made_by'] | {'cycle': cycle}})
    elif split_files.read(path, data)[0].hash != split.hash:
        raise ValueError(
            f'{path} is not the split that {acquired.FILE} and the labels make; restore it, or '
            f'delete the folders of the cycles from {cycle} on.'
        )
