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
from mpl.labeling import agreement, answers, questions
from mpl.labeling import asked as asked_files
from mpl.labeling.asked import LABELS, Asked
from mpl.run import experiment as experiments
from mpl.run import rows as row_files


class Waiting(Exception):
    """Images wait for labels; the message tells what to do."""


def answer(
    study: Study, cycle: int, acquired: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str, Source]:
    """The labels of all images that were acquired up to a cycle, as fields of labels.Answered.

    An image that was answered with a class in split.unlabeled_only leaves the pool, as one that was
    skipped.

    Args:
      study: that the cycle is in.
      cycle: the last one.
      acquired: the images of this cycle, in the order of choice.
      numbers: of the images of this and all earlier cycles, without repeats.

    Raises:
      Waiting: fewer answers than active.minimum, or than images, are there.
      ValueError: an answer is refused; names its line.
    """
    folder, workdir = Path(study.folder(cycle)), Path(study.workdir)
    if not (folder / LABELS).exists():
        _ask(study, cycle, acquired)
        answers.freeze(workdir, folder)
    file = str(folder / LABELS)
    source = experiments.read_source(studies.cycle_config(study, cycle, file))
    votes = label_file.votes(row for _, row in label_file.read(Path(file)))
    answered = {path for path, of in votes.items() if label_file.majority(of) is not None}
    label, names = source.train.label[numbers], source.train.name
    is_answered = np.array([names[number] in answered for number in numbers], bool)
    return numbers[label >= 0], numbers[is_answered & (label < 0)], file, source


def _ask(study: Study, cycle: int, acquired: np.ndarray) -> None:
    """Writes the questions of a cycle where they are not yet, and takes the answers."""
    workdir, folder = Path(study.workdir), Path(study.folder(cycle))
    config, active = study.config.source, study.config.active
    if (folder / asked_files.FILE).exists():
        asked = asked_files.read(folder)._replace(root=questions.find_root(config.path))
    else:
        chosen = np.concatenate([acquired, _find_ties(study, cycle, acquired)]).astype(np.int64)
        if not len(chosen):  # active.start is 0.
            return
        probability = _probability(study, cycle, chosen)
        names = study.source.train.name
        asked = questions.make(config.path, names, chosen, config.classes, cycle, probability)
    notes = questions.write(folder, asked, active.forms, active.suggest and bool(asked.suggestion))
    answers.collect(workdir)
    _check_enough(study, asked, answers.read(workdir), notes)


def _find_ties(study: Study, cycle: int, acquired: np.ndarray) -> np.ndarray:
    """The images of earlier cycles on which annotators differ, without those of this one."""
    workdir = Path(study.workdir)
    if not any((study.folder(n) / asked_files.FILE).exists() for n in range(cycle)):
        return acquired[:0]
    finder = asked_files.Finder([asked for _, asked in asked_files.cycles(workdir)])
    tied = [finder.numbers[path] for path in answers.read(workdir).tied]
    return np.setdiff1d(np.array(tied, np.int64), acquired)


def _probability(study: Study, cycle: int, chosen: np.ndarray) -> np.ndarray | None:
    """Of each class by the network of the cycle before, [n, K]; None before the first training.

    None also with split.unlabeled_only: its classes have no logits.
    """
    if not cycle or study.config.split.unlabeled_only:
        return None
    path = study.folder(cycle - 1) / f'{row_files.LOGITS.name}.npy'
    logits = row_files.read(os.fspath(path), row_files.LOGITS)[chosen]
    # Images that left the pool before a tie was asked again have none.
    return special.softmax(np.nan_to_num(logits), -1)


def _check_enough(study: Study, asked: Asked, found: answers.Answers, notes: list[str]) -> None:
    """Raises Waiting if too few images of the cycle have an answer."""
    done = {*found.label, *found.skipped}
    count, total = sum(path in done for path in asked.path), len(asked.path)
    needed = min(study.config.active.minimum or total, total)
    if count >= needed:
        return
    folder, workdir = study.folder(asked.cycle), study.workdir
    raise Waiting(
        '\n'.join(
            [
                f'Cycle {asked.cycle} waits for labels: {count:,} of {total:,} images are answered'
                + (f', and training starts at {needed:,}.' if needed < total else '.'),
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
