"""The state behind the labeling page: who is asked what next, and what has been answered."""

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from mpl.data import label_file
from mpl.data.label_file import Answer
from mpl.labeling import answers, question_files
from mpl.labeling.question_files import LABELS

RESERVED = 120  # seconds for which an image that one person sees is kept from the others
KEYS = '123456789abcdefghijklmnopqrstuvwxyz'  # of the classes, in their order


class Session:
    """Questions of the newest cycle and the answers to them; may be used from several threads.

    Follows what other processes write: new cycles, and rows of labels.csv.
    """

    def __init__(self, workdir: Path, votes: int = 1):
        """votes: how many people should answer each image.

        Raises:
          ValueError: the work directory has no questions.
        """
        self.workdir, self.needed = workdir, votes
        self._lock = threading.RLock()
        self._reserved = {}  # number -> (annotator, time)
        self._confirmed = set()  # (annotator, number) of ties that were answered again
        self._folder = None
        # Of labels.csv: what was read, the last answer of each person, and the images that have
        # answers enough, without or with a tie.
        self._content, self._votes, self._done, self._ties = b'', {}, set(), set()
        self._refresh()
        first, _ = next(iter(question_files.cycles(workdir)))
        named = f'{workdir.resolve()}'.encode() + (first / question_files.FILE).read_bytes()
        # Numbers mean other images in another study, which may be served at the same address later.
        self.study = hashlib.sha256(named).hexdigest()[:12]

    def image(self, number: int) -> Path | None:
        """The file of an image that was asked for in any cycle; None for any other number."""
        with self._lock:
            self._refresh()
            if number not in self._paths:
                return None
            return Path(self.asked.root) / self._paths[number]

    def state(self, annotator: str, count: int) -> dict:
        """Progress and the next `count` questions for a person, JSON-serializable."""
        with self._lock:
            self._refresh()
            ranks = self._next(annotator, count)
            now = time.monotonic()
            self._reserved |= {self.asked.number[rank]: (annotator, now) for rank in ranks}
            done, ties, yours = self._count(annotator)
            return {
                'cycle': self.asked.cycle,
                'asked': len(self.asked.path),
                'done': done,
                'ties': ties,
                'yours': yours,
                'training': count > 0 and not ranks and is_training(self.workdir),
                'questions': [self._question(rank) for rank in ranks],
            }

    def is_finished(self) -> bool:
        """Whether all images of the cycle have answers enough, without ties."""
        with self._lock:
            self._refresh()
            return self._done.issuperset(self.asked.path)

    def answer(self, annotator: str, given: Sequence[tuple[int, str]]) -> list[str]:
        """Keeps answers, on the disk when this returns; returns what the person said before.

        given: (number, label); SKIP, or '' to take an answer back.

        Raises:
          ValueError: an image was not asked for, or a class is unknown; nothing is kept.
          OSError: the file could not be written; nothing is kept.
        """
        with self._lock:
            self._refresh()
            rows, before = [], []
            for number, label in given:
                if number not in self._paths:
                    raise ValueError(f'Picture {number} was not asked for.')
                if label:
                    answers.check_label(label, self.asked.classes, f'The answer for {number}')
                path = self._paths[number]
                said = self._said(path)
                before.append(said[annotator] if annotator in said else '')
                if path in self._ties and before[-1] == label:
                    self._confirmed.add((annotator, number))
                rows.append(Answer(path, label, annotator, self.asked.cycle, answers.now()))
            label_file.append(self.workdir / LABELS, rows)
            self._refresh()
            for number, _ in given:
                self._reserved.pop(number, None)
            return before

    def _refresh(self):
        """Reads what has changed on the disk."""
        following = None
        if self._folder is not None:
            following = self.workdir / f'cycle_{self.asked.cycle + 1}' / question_files.FILE
        if self._folder is None or following.exists():
            *_, (self._folder, self.asked) = all_asked = list(question_files.cycles(self.workdir))
            self._paths = {
                number: path
                for _, asked in all_asked
                for number, path in zip(asked.number, asked.path)
            }
            self._reserved.clear()
        path = self.workdir / LABELS
        if path.exists() and os.stat(path).st_size != len(self._content):
            content = label_file.load(path)
            grown = content.startswith(self._content)
            start = len(self._content) if grown else 0
            rows = label_file.parse(path, content[start:], content.count(b'\n', 0, start) + 1)
            if not grown:
                for of in (self._votes, self._done, self._ties):
                    of.clear()
            self._content = content
            self._take(answer for _, answer in rows)

    def _take(self, rows):
        """Brings the votes up to date."""
        for answer in rows:
            of = self._votes.setdefault(answer.path, {})
            of.pop(answer.annotator, None)
            if answer.label:
                of[answer.annotator] = answer.label
            whole = len(of) >= self.needed
            is_tie = whole and label_file.majority(of) is None
            for paths, belongs in ((self._ties, is_tie), (self._done, whole and not is_tie)):
                (paths.add if belongs else paths.discard)(answer.path)

    def _next(self, annotator, count):
        """Ranks of open images that nobody else sees now; then of those; then of ties."""
        free, taken, ties = [], [], []
        oldest = time.monotonic() - RESERVED
        for rank, (number, path) in enumerate(zip(self.asked.number, self.asked.path)):
            if len(free) == count:
                break
            if path in self._done:
                continue
            if path in self._ties:
                if (annotator, number) not in self._confirmed:
                    ties.append(rank)
            elif annotator not in self._said(path):
                person, since = annotator, 0.0
                if number in self._reserved and self.needed == 1:
                    person, since = self._reserved[number]
                (free if person == annotator or since < oldest else taken).append(rank)
        return (free or taken or ties)[:count]

    def _count(self, annotator):
        paths = self.asked.path
        counts = (sum(path in of for path in paths) for of in (self._done, self._ties))
        return *counts, sum(annotator in self._said(path) for path in paths)

    def _said(self, path):
        """The last answer of each person for an image."""
        return self._votes[path] if path in self._votes else {}

    def _question(self, rank):
        path = self.asked.path[rank]
        tie = self._said(path) if path in self._ties else {}
        found = {'number': self.asked.number[rank], 'rank': rank + 1, 'said': tie}
        if self.asked.suggestion:
            found |= {
                'suggestion': self.asked.suggestion[rank],
                'confidence': self.asked.confidence[rank],
            }
        return found


def keys(classes: Sequence[str]) -> list[dict]:
    """The classes with their keys, '' for those beyond the 35th, which are found by typing."""
    padded = [*KEYS, *[''] * len(classes)]
    return [{'name': name, 'key': key} for name, key in zip(classes, padded)]


def is_training(workdir: Path) -> bool:
    """Whether another process holds the lock of the work directory or of one of its cycles."""
    return any(map(_is_locked, (workdir, *workdir.glob('cycle_*'))))


def _is_locked(folder: Path) -> bool:
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
