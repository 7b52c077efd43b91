"""Labels from people: asks for them, and reads what they have answered (mpl/labeling/).

The questions of a cycle are its acquired images and the images of earlier cycles on which annotators
differ. When enough of them are answered, cycle_<t>/labels.csv is written, a copy of all answers so
far; the run of the cycle is trained on it, whatever is answered later.
"""

import os
from pathlib import Path

import numpy as np
from scipy import special

from mpl.cycles import study as studies
from mpl.cycles.study import Study
from mpl.data import label_file
from mpl.data.source import Source
from mpl.labeling import agreement, answers, question_files, questions
from mpl.labeling.question_files import LABELS, Asked
from mpl.run import experiment as experiments
from mpl.run import paths, records, row_files


class Waiting(Exception):
    """Images wait for labels; the message tells what to do."""


def check(study: Study) -> None:
    """Refuses a study whose images people cannot be asked for.

    Raises:
      ValueError: names what is missing in the config, or an image whose name no file of questions can hold.
    """
    source = study.config.source
    if source.name != 'folder' or not source.classes:
        raise ValueError(
            'The source has images without a label, so people are asked for them: that takes '
            "source.name='folder' and the names of all classes, such as "
            "--config.source.classes=\"('cat','dog')\"."
        )
    if source.labels:
        raise ValueError(
            f'source.labels is {source.labels}, but mpl.active keeps labels in its own {LABELS}; '
            'leave it out, and put images with a label into labeled/<class>/.'
        )
    if study.config.active.logits == 'labels':
        raise ValueError(
            "active.logits is 'labels', an oracle, but people are asked for them; set it to 'network'."
        )
    if paths.is_remote(study.workdir):
        raise ValueError(f'{study.workdir} is in a bucket; people label on a disk: give a folder.')
    for form in study.config.active.forms:
        questions.find_form(form)
    pool_names = study.source.train.name
    root = questions.find_root(source.path)
    question_files.check_paths((str(pool_names[n]) for n in study.candidates), root)


def answer(
    study: Study, cycle: int, chosen: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str, Source]:
    """What the answers come to; asks for those that are missing.

    Args:
      study: that the cycle is in.
      cycle: the last one.
      chosen: the images acquired in this and all earlier cycles, int64.

    Returns:
      The images with a label and those that leave the pool, int64; the file of labels; the source
      with these labels.

    Raises:
      Waiting: too few images of this cycle have an answer.
      ValueError: an answer is refused; names its line.
    """
    folder, workdir = Path(study.folder(cycle)), Path(study.workdir)
    if len(chosen) and not (folder / LABELS).exists():
        asked, notes = _ask(study, cycle)
        new = answers.collect(workdir)
        _check_enough(study, asked, answers.read(workdir), new, notes)
    path = str(answers.freeze(workdir, folder))
    source = experiments.read_source(studies.cycle_config(study, cycle, path))
    rows = [answer for _, answer in label_file.read(Path(path))]
    answered = {
        name for name, votes in label_file.votes(rows).items() if label_file.majority(votes)
    }
    chosen = np.unique(chosen)
    label = source.train.label[chosen]
    is_answered = np.array([source.train.name[n] in answered for n in chosen], bool)
    return chosen[label >= 0], chosen[is_answered & (label < 0)], path, source


def _ask(study: Study, cycle: int) -> tuple[Asked, list[str]]:
    """The questions of a cycle, written where they are not yet, and notes for the user."""
    folder, active = Path(study.folder(cycle)), study.config.active
    path = study.config.source.path
    if (folder / question_files.FILE).exists():
        asked = question_files.read(folder)._replace(root=questions.find_root(path))
    else:
        record = records.read(
            study.folder(cycle) / 'acquired.json', 'a record of acquired images', 'delete the study'
        )
        numbers = np.array(record['numbers'] + _ties(study, cycle, record['numbers']), np.int64)
        asked = questions.make(
            path, study.source.train.name, numbers, study.config.source.classes, cycle,
            _probability(study, cycle, numbers),
        )  # fmt: skip
    notes = questions.write(folder, asked, active.forms, active.suggest and bool(asked.suggestion))
    return asked, notes


def _ties(study, cycle, numbers):
    """The images of earlier cycles on which annotators differ, without those of `numbers`."""
    workdir = Path(study.workdir)
    if not any((study.folder(n) / question_files.FILE).exists() for n in range(cycle)):
        return []
    finder = question_files.Finder([asked for _, asked in question_files.cycles(workdir)])
    tied = [finder.numbers[path] for path in answers.read(workdir).tied]
    return sorted(set(tied) - set(numbers))


def _probability(study, cycle, numbers):
    """Of each class by the network of the cycle before, [n, K]; None before the first training.

    None also with split.unlabeled_only, whose classes have no logits.
    """
    if not cycle or study.config.split.unlabeled_only:
        return None
    path = study.folder(cycle - 1) / f'{row_files.LOGITS.name}.npy'
    logits = row_files.read(os.fspath(path), row_files.LOGITS)[numbers]
    # Images that had left the pool before annotators differed on them have no row.
    return special.softmax(np.nan_to_num(logits), -1)


def _check_enough(study, asked, found, new, notes):
    open_now = set(found.open) | set(found.tied)
    missing = sum(path in open_now for path in asked.path)
    answered, minimum = len(asked.path) - missing, study.config.active.minimum
    if answered >= min(minimum or len(asked.path), len(asked.path)):
        return
    folder, workdir = study.folder(asked.cycle), study.workdir
    raise Waiting(
        '\n'.join(
            [
                f'Cycle {asked.cycle}: {len(asked.path):,} pictures wait for labels, {answered:,} of '
                f'them have one ({new:,} new)'
                + (f'; training starts at {minimum:,}.' if minimum else '.'),
                *notes,
                agreement.show(found),
                'Label them on a page:',
                '',
                f'    python -m mpl.label --workdir={workdir}',
                '',
                f'or fill in the column label of {folder}/to_label.csv ({", ".join(asked.classes)} '
                f'or {label_file.SKIP}), or put an export of Label Studio or CVAT into '
                f'{folder}/{answers.INBOX}/. Then run this command again: it goes on with the answers.',
            ]
        )
    )
