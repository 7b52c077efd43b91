"""Labels that people have given, in one file that only grows: labels.csv.

A row has path, label, annotator, cycle and time (UTC). `path` is a POSIX path below the folder of
the images, `label` a class, SKIP for an image that nobody should be asked for again, or empty for
an answer that was taken back. Of one annotator and image the last row counts.

Rows are appended whole, under a lock, and are on the disk when `append` returns: two writers at a
time are safe, and a kill leaves all earlier answers. A last line that a fault has cut is not read,
with a warning, and is removed by the next `append`.
"""

import collections
import csv
import fcntl
import io
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from mpl.data import names

SKIP = 'skip'
_TIME = re.compile(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ')


class Answer(NamedTuple):
    """A row of the file."""

    path: str
    label: str
    annotator: str
    cycle: int
    time: str  # '2026-11-29T13:51:07Z', or empty in a row written by hand


COLUMNS = Answer._fields
_HEADER = (','.join(COLUMNS) + '\n').encode()


def append(path: Path, answers: Sequence[Answer]) -> None:
    """Adds rows at the end of the file; creates it if it is missing, also for no answers.

    Raises:
      ValueError: a value has a line break, or the file is not a file of labels.
      OSError: the disk is full, or the file cannot be written; no row was added.
    """
    rows = b''.join(map(_encode, answers))
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
        whole, cut = _split(path, content)
        if cut:
            os.ftruncate(descriptor, len(whole))
        if whole and not whole.endswith(b'\n'):
            rows = b'\n' + rows
        added = rows if whole else _HEADER + rows
        try:
            while added:
                added = added[os.write(descriptor, added) :]
            os.fsync(descriptor)
        except OSError:
            os.ftruncate(descriptor, len(whole))
            raise
    finally:
        os.close(descriptor)


def read(path: Path) -> list[tuple[int, Answer]]:
    """The rows of the file in order, each with the number of its line.

    Raises:
      ValueError: the file cannot be read, or a row is not as described above.
    """
    return parse(path, load(path))


def load(path: Path) -> bytes:
    """The whole rows of the file, header included.

    Raises:
      ValueError: there is no such file, or it is not a file of labels.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError as error:
        raise ValueError(f'The labels {path} cannot be read: {error.strerror}.') from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        content = os.pread(descriptor, os.fstat(descriptor).st_size, 0)
    finally:
        os.close(descriptor)
    whole, _ = _split(path, content)
    return whole


def parse(path: Path, content: bytes, first: int = 1) -> list[tuple[int, Answer]]:
    """The rows in the bytes of `load`, or in a part of them that begins with line `first`."""
    text = content.decode('utf-8-sig', 'surrogateescape')
    found = []
    try:
        for line, row in enumerate(csv.reader(text.splitlines(), strict=True), first):
            if line > 1 and row:
                found.append((line, _answer(path, line, row)))
    except csv.Error as error:
        raise ValueError(f'{path} cannot be read as CSV: {error}; repair that line.') from error
    return found


def votes(answers: Iterable[Answer]) -> dict[str, dict[str, str]]:
    """The last label of each annotator, by image: {path: {annotator: label}}."""
    found = collections.defaultdict(dict)
    for answer in answers:
        if answer.label:
            found[answer.path][answer.annotator] = answer.label
        else:
            found[answer.path].pop(answer.annotator, None)
    return {path: of for path, of in found.items() if of}


def majority(of: Mapping[str, str]) -> str | None:
    """The label that more annotators gave than any other one; None for none or a tie."""
    ranked = collections.Counter(of.values()).most_common(2)
    if not ranked or len(ranked) == 2 and ranked[0][1] == ranked[1][1]:
        return None
    return ranked[0][0]


def _encode(answer: Answer) -> bytes:
    for value in answer:
        if any(end in str(value) for end in '\r\n\0') or len(str(value).splitlines()) > 1:
            raise ValueError(
                f'{value!r} has a line break, which labels.csv cannot hold: rename it.'
            )
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerow(answer)
    return text.getvalue().encode(errors='surrogateescape')


def _split(path: Path, content: bytes) -> tuple[bytes, bytes]:
    """The whole lines, and a last line that was cut; a line with its time is whole."""
    start = content.rfind(b'\n') + 1
    whole, last = content[:start], content[start:]
    first = content.removeprefix(b'\xef\xbb\xbf')[: len(_HEADER) + 1].replace(b'\r\n', b'\n')
    if not first.startswith(_HEADER) and not _HEADER.startswith(first):
        raise ValueError(
            f'{path} is not a file of labels: its first line must be {",".join(COLUMNS)}.'
        )
    if not last or whole and _TIME.fullmatch(last.decode(errors='replace').rpartition(',')[2]):
        return content, b''
    logging.warning('The last line of %s was cut off and is not read: %r', path, last)
    return whole, last


def _answer(path: Path, line: int, row: list[str]) -> Answer:
    if len(row) != len(COLUMNS):
        raise ValueError(
            f'Line {line} of {path} has {len(row)} fields instead of {len(COLUMNS)} '
            f'({", ".join(COLUMNS)}).'
        )
    name, label, annotator, cycle, time = (value.strip() for value in row)
    if not name or not annotator or not cycle.isdecimal() or time and not _TIME.fullmatch(time):
        raise ValueError(
            f'Line {line} of {path} needs a path, an annotator, a cycle from 0 up and a time such '
            f'as 2026-11-29T13:51:07Z (or none), not {",".join(row)}.'
        )
    if not all(map(names.is_utf8, (label, annotator))):
        raise ValueError(f'Line {line} of {path} has a label or annotator that is not UTF-8.')
    return Answer(name, label, annotator, int(cycle), time)
