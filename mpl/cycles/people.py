"""Labels from people: asks for them, and reads the answers (mpl/labeling/).

The questions of a cycle and the answers that its run is trained with are in the folder of the
cycle, all answers in <workdir>/labels.csv.
"""

from pathlib import Path

import numpy as np

from mpl.cycles.study import Study
from mpl.data import label_file
from mpl.data.source import Source
from mpl.labeling import answers, questions
from mpl.labeling.asked import FILE, LABELS
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run import measure
from mpl.run import rows as row_files


class Waiting(Exception):
    """Images wait for labels; the message says what to do."""


def answer(
    study: Study, cycle: int, asked: np.ndarray, numbers: np.ndarray
) -> tuple[np.ndarray, np.ndarray, str, Source]:
    """The labels of all images that were acquired up to a cycle, as fields of labels.Answered.

    Args:
      study: that the cycle is in.
      cycle: the last one.
      asked: the images of this cycle, in the order of choice.
      numbers: of the images of this and all earlier cycles, without repeats.

    Raises:
      Waiting: fewer answers than active.minimum, or than images, are there.
      ValueError: an answer is refused, or the images are not files.
    """
    workdir, folder = Path(study.workdir), Path(study.folder(cycle))
    if not (folder / LABELS).exists():
        if len(asked):
            notes = _ask(study, cycle, asked)
            answers.collect(workdir)
            _check_enough(study, cycle, asked, notes)
        answers.freeze(workdir, folder)
    file = str(folder / LABELS)
    given = study.config.to_dict()
    given['source'] |= {'labels': file}
    source = experiments.read_source(configs.complete(given))
    votes = label_file.votes(one for _, one in label_file.read(Path(file)))
    skipped = [
        n
        for n in numbers.tolist()
        if label_file.majority(votes.get(source.train.name[n], {})) == label_file.SKIP
    ]
    labeled = numbers[source.train.label[numbers] >= 0]
    return labeled, np.array(skipped, np.int64), file, source


def _ask(study, cycle, asked):
    """Writes the questions of a cycle, once; returns sentences for the user."""
    folder, source, active = Path(study.folder(cycle)), study.source, study.config.active
    if (folder / FILE).exists():
        of_cycle = questions.asked_files.read(folder)
    else:
        probability = None
        if cycle:
            logits = row_files.read(str(study.folder(cycle - 1) / 'logits.npy'))
            probability = np.exp(measure.log_softmax(logits[asked]))
        of_cycle = questions.make(
            study.config.source.path, source.train.name, asked, source.classes, cycle, probability
        )
    return questions.write(folder, of_cycle, active.forms, active.suggest and cycle > 0)


def _check_enough(study, cycle, asked, notes):
    """Raises Waiting if too few of the images of this cycle have an answer."""
    found = answers.read(Path(study.workdir))
    done = {*found.label, *found.skipped}
    paths = [str(study.source.train.name[n]) for n in asked]
    count = sum(path in done for path in paths)
    needed = study.config.active.minimum or len(asked)
    if count >= min(needed, len(asked)):
        return
    tied = sum(path in found.tied for path in paths)
    raise Waiting(
        ''.join(f'{note}\n' for note in notes)
        + f'Cycle {cycle} waits for labels: {count:,} of {len(asked):,} images are answered'
        + (f', and on {tied:,} annotators differ' if tied else '')
        + f'. They are listed in {study.folder(cycle)}. Fill in to_label.csv there, or label them on '
        f'a page:\n\n    python -m mpl.label --workdir={study.workdir}\n\nThen run this command again.'
    )
