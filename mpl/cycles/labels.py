"""The labels of acquired images: from the source in a simulation, else from people.

Nobody waits in this process for people: questions are written, the command ends, and the same
command reads the answers when they are there.
"""

from typing import NamedTuple

import numpy as np

from mpl.cycles import people
from mpl.cycles.study import Study
from mpl.data.source import Source


class Answered(NamedTuple):
    """What the labels of all acquired images up to a cycle come to."""

    labeled: np.ndarray  # int64, the images with a label
    skipped: np.ndarray  # int64, the images that leave the pool
    file: str  # of labels, that the run is trained with; '' for those of the source
    source: Source  # with the labels


def answer(study: Study, cycle: int, numbers: np.ndarray) -> Answered:
    """The labels of all images acquired up to a cycle.

    Args:
      study: that the cycle is in.
      cycle: the last one.
      numbers: of the images of this and all earlier cycles, int64, without repeats.

    Raises:
      people.Waiting: people have not answered yet.
    """
    if study.asks:
        return Answered(*people.answer(study, cycle, numbers))
    label = study.source.train.label[numbers]
    return Answered(numbers[label >= 0], numbers[label < 0], '', study.source)
