"""Asks people for labels: writes the images of a cycle in the forms that people can work with.

A form is a file in mpl/labeling/forms/ with a function `write(folder, asked, suggest)`. Those whose
answers can be read back also have `fits(path)` and `read(path)`; see answers.py.
"""

import collections
import hashlib
import importlib
import os
import pkgutil
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import numpy as np

from mpl.data import files, names
from mpl.labeling import forms, question_files
from mpl.labeling.question_files import Asked

DEFAULT_FORMS = ('table', 'sheets')


def make(
    path: str,
    pool_names: Sequence[str],
    numbers: np.ndarray,
    classes: Sequence[str],
    cycle: int,
    probability: np.ndarray | None = None,
) -> Asked:
    """The questions of a cycle.

    Args:
      path: source.path of a folder source, a folder or a CSV file.
      pool_names: the names of its training pool, which are paths below the folder.
      numbers: the images to ask for, int [n], in the order of choice.
      classes: the names of all classes, [K].
      cycle: from 0 up.
      probability: of each class by a network, float [n, K], for suggestions; None for none.
    """
    chosen = tuple(int(number) for number in numbers)
    paths = tuple(str(pool_names[number]) for number in chosen)
    suggestion = confidence = ()
    if probability is not None:
        suggestion = tuple(classes[k] for k in np.argmax(probability, -1))
        confidence = tuple(round(float(p), 4) for p in np.max(probability, -1))
    return Asked(find_root(path), tuple(classes), cycle, chosen, paths, suggestion, confidence)


def find_root(path: str) -> str:
    """The folder that the paths of the images are relative to; path: a folder or a CSV file."""
    place = files.expand(path)
    return os.path.abspath(place if place.is_dir() else place.parent)


def write(
    folder: Path, asked: Asked, given: Sequence[str] = DEFAULT_FORMS, suggest: bool = False
) -> list[str]:
    """Writes the questions in a folder of a cycle; what is there already is kept.

    Args:
      folder: <workdir>/cycle_<t>.
      asked: its questions.
      given: names of files in mpl/labeling/forms/.
      suggest: whether the files show the suggestions, which bias people. The labeling page can
        show and hide them in any case.

    Returns:
      Sentences for the user, such as about copies among the images.

    Raises:
      ValueError: unknown form, no suggestions to show, or the folder has other questions.
      OSError: an image is gone, or the disk is full; the same call goes on.
    """
    chosen = [find_form(name) for name in given]
    if suggest and not asked.suggestion:
        raise ValueError('There are no suggestions to show: no network has been trained yet.')
    notes = _copies(asked)
    question_files.write(folder, asked)
    for form in chosen:
        form.write(folder, asked, suggest)
    return notes


def find_form(name: str) -> ModuleType:
    """The module mpl/labeling/forms/<name>.py.

    Raises:
      ValueError: there is none.
    """
    known = form_names()
    if name not in known:
        raise ValueError(
            f'There is no form {name!r} of questions; give some of {", ".join(known)}.'
        )
    return importlib.import_module(f'{forms.__name__}.{name}')


def form_names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(forms.__path__))


def _copies(asked: Asked) -> list[str]:
    """A sentence about images with the same bytes, which should get the same label."""
    by_size = collections.defaultdict(list)
    for path in asked.path:
        by_size[os.stat(Path(asked.root) / path).st_size].append(path)
    same = collections.defaultdict(list)
    for paths in by_size.values():
        for path in paths if len(paths) > 1 else ():
            content = (Path(asked.root) / path).read_bytes()
            same[hashlib.sha256(content).digest()].append(path)
    pairs = [f'{paths[0]} = {one}' for paths in same.values() for one in paths[1:]]
    if not pairs:
        return []
    return [
        f'{len(pairs)} of the {len(asked.path)} pictures are copies, byte by byte, of others among '
        f'them ({names.examples(pairs, 3)}): give copies the same label, or remove them from the folder.'
    ]
