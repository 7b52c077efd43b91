"""Reads the answers of people, checks them, and keeps them in <workdir>/labels.csv.

    collect   takes the answers from all files of a work directory
    keep      takes those of one file, or of the labeling page
    read      what they come to: labels, skipped images, ties, open questions
    freeze    a copy for a run, which later answers do not change

The files of a cycle are cycle_<t>/to_label.csv and whatever lies in cycle_<t>/answers/, in any form
that has `fits` and `read` (mpl/labeling/forms/). Of a file with an error no answer is taken.
"""

import datetime
import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from etils import epath

from mpl.data import label_file, names
from mpl.data.label_file import SKIP, Answer
from mpl.labeling import question_files
from mpl.labeling.forms import cvat, label_studio, table
from mpl.labeling.question_files import LABELS, Asked, Finder
from mpl.run import records

FORMS = (table, label_studio, cvat)
INBOX = 'answers'


class Answers(NamedTuple):
    """What the answers come to; every image that was ever asked for is in one of the first four."""

    label: dict[str, str]  # path -> the class that most annotators gave
    skipped: tuple[str, ...]  # paths that leave the pool for good
    tied: tuple[str, ...]  # paths on which annotators differ, to be asked again
    open: tuple[str, ...]  # paths without an answer
    votes: dict[str, dict[str, str]]  # path -> annotator -> last answer


def collect(workdir: Path) -> int:
    """Takes the answers in all files of the work directory; returns how many are new.

    Answers that were taken before are passed over.

    Raises:
      ValueError: names the line of a file whose image was not asked for, or whose class is unknown,
        or that contradicts another line or an earlier answer of the same person; nothing is kept.
    """
    new = []
    for folder, asked in question_files.cycles(workdir):
        for path in _files(folder):
            new += check_file(path, [asked])
    return _keep_new(workdir, new, replace=False)


def keep(workdir: Path, path: Path, annotator: str = '', replace: bool = False) -> int:
    """Takes the answers of one file; returns how many are new. Raises as `collect`.

    annotator: of rows that name nobody; by default the name of the file.
    replace: whether the answers may correct those that the same person gave before.
    """
    all_asked = [asked for _, asked in question_files.cycles(workdir)]
    return _keep_new(workdir, check_file(path, all_asked, annotator), replace)


def read(workdir: Path) -> Answers:
    """What the answers in labels.csv come to."""
    all_asked = [asked for _, asked in question_files.cycles(workdir)]
    votes = label_file.votes(load(workdir))
    found = Answers({}, (), (), (), votes)
    groups = {'skipped': [], 'tied': [], 'open': []}
    for path in dict.fromkeys(path for asked in all_asked for path in asked.path):
        label = label_file.majority(votes[path]) if path in votes else None
        if label is None:
            groups['tied' if path in votes else 'open'].append(path)
        elif label == SKIP:
            groups['skipped'].append(path)
        else:
            found.label[path] = label
    return found._replace(**{name: tuple(paths) for name, paths in groups.items()})


def load(workdir: Path) -> list[Answer]:
    """The rows of labels.csv, none if there is no such file yet.

    Raises:
      ValueError: a row cannot be read.
    """
    path = workdir / LABELS
    return [answer for _, answer in label_file.read(path)] if path.exists() else []


def freeze(workdir: Path, folder: Path) -> Path:
    """Copies labels.csv into the folder of a run, once; returns the path of the copy.

    A run that is trained on the copy is not changed by answers that come later.
    """
    copy = folder / LABELS
    if not copy.exists():
        label_file.append(workdir / LABELS, [])
        folder.mkdir(parents=True, exist_ok=True)
        records.write_bytes(epath.Path(copy), label_file.load(workdir / LABELS))
    return copy


def now() -> str:
    """The present time for a row of labels.csv."""
    return datetime.datetime.now(datetime.UTC).strftime('%Y-%m-%dT%H:%M:%SZ')


def check_file(path: Path, all_asked: Sequence[Asked], annotator: str = '') -> list[Answer]:
    """The answers in a file of any form, without empty ones.

    Raises:
      ValueError: as `collect`.
    """
    if not path.exists():
        raise ValueError(f'There is no file or folder {path}.')
    form = next((form for form in FORMS if form.fits(path)), None)
    if form is None:
        raise ValueError(
            f'{path} is in no known form: give a CSV file with the columns path and label, an '
            'export of Label Studio (JSON, JSON_MIN, CSV), or a folder or zip file in ImageNet 1.0.'
        )
    finder, classes, time = Finder(all_asked), all_asked[0].classes, now()
    cycle = {image: asked.cycle for asked in all_asked for image in asked.path}
    found, place = {}, {}
    for row in form.read(path):
        image = finder.find(row.name)
        if image is None or row.number not in ('', str(finder.numbers[image])):
            raise ValueError(
                f'{row.place} is about {names.printable(row.name)}'
                + (f', number {row.number}' if row.number else '')
                + ', which was not asked for: remove it, or give the file of these questions.'
            )
        if not row.label:
            continue
        check_label(row.label, classes, row.place)
        person = row.annotator or annotator or path.stem
        answer = Answer(image, row.label, person, cycle[image], time)
        other = found.setdefault((image, person), answer)
        if other.label != answer.label:
            raise ValueError(
                f'{row.place} answers {answer.label!r} for {names.printable(image)}, but '
                f'{place[image, person]} {other.label!r}: remove one of them.'
            )
        place.setdefault((image, person), row.place)
    return list(found.values())


def check_label(label: str, classes: Sequence[str], place: str) -> None:
    """Raises ValueError for a label that is neither a class nor SKIP; `place` begins the message."""
    allowed = (*classes, SKIP)
    if label not in allowed:
        near = difflib.get_close_matches(label, allowed, 1)
        raise ValueError(
            f'{place} has the class {label!r}'
            + (f'; did you mean {near[0]!r}? ' if near else '. ')
            + f'Allowed: {", ".join(classes)}, {SKIP}, or nothing.'
        )


def _files(folder: Path) -> Iterator[Path]:
    if (folder / table.FILE).exists():
        yield folder / table.FILE
    inbox = folder / INBOX
    if inbox.is_dir():
        yield from sorted(path for path in inbox.iterdir() if not path.name.startswith('.'))


def _keep_new(workdir: Path, given: Sequence[Answer], replace: bool) -> int:
    """Appends the answers that are not in labels.csv yet, in one piece."""
    last = {(answer.path, answer.annotator): answer for answer in load(workdir)}
    new = []
    for answer in given:
        before = last.get((answer.path, answer.annotator))
        if before is not None and before.cycle > answer.cycle:
            continue  # Asked again since.
        if before is not None and before.label and before.cycle == answer.cycle:
            if before.label == answer.label:
                continue
            if not replace:
                raise ValueError(
                    f'{answer.annotator} answers {answer.label!r} for '
                    f'{names.printable(answer.path)}, but answered {before.label!r} before; to '
                    'correct answers: python -m mpl.label --read=FILE --replace.'
                )
        new.append(answer)
        last[answer.path, answer.annotator] = answer
    label_file.append(workdir / LABELS, new)
    return len(new)
