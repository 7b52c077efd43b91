"""Detects images that are byte-for-byte copies of images of another part or class."""

import collections
import hashlib
import logging
from pathlib import Path

import numpy as np

from mpl.data import cache, files, images, names

MOST = 100_000  # maximum number of files that are read to look for copies
_SHOWN = 3  # pairs in the warning


def warn(root: Path, found: list[files.File], threads: int) -> None:
    """Logs a warning with the number of copies across parts or classes.

    Only files whose size in bytes occurs in several parts or classes are read, once until they
    change. If there are more than MOST, a warning states that copies were not searched. Images
    that were encoded again have other bytes and are not found.
    """
    indices = _suspects(found)
    if len(indices) > MOST:
        logging.warning(
            '%d pictures in %s have the size in bytes of one of another part or class, too many to '
            'look for copies of the same picture among them (%d at most).', len(indices), root, MOST
        )  # fmt: skip
        return
    if not len(indices):
        return
    suspects = [found[index] for index in indices]
    same = collections.defaultdict(list)
    for file, digest in zip(suspects, _digests(root, suspects, threads)):
        same[digest].append(file)
    counts, pairs = collections.Counter(), []
    for alike in same.values():
        first = alike[0]
        for other in alike[1:]:
            if (other.part, other.label) != (first.part, first.label):
                counts[first.part, other.part] += 1
                pairs.append(f'{names.printable(other.name)} = {names.printable(first.name)}')
    if pairs:
        by_part = ', '.join(
            f'{count} in {part} of {"another class of it" if part == of else of}'
            for (of, part), count in sorted(counts.items())
        )
        logging.warning(
            '%d pictures in %s are copies, byte by byte, of one of another part or class (%s): %s. '
            'Accuracy on copies of training pictures is too high: remove them from validation and test.',
            len(pairs), root, by_part, names.examples(pairs, _SHOWN),
        )  # fmt: skip


def _suspects(found: list[files.File]) -> np.ndarray:
    """Indices of the non-empty files whose size occurs in several parts or classes."""
    places = {place: n for n, place in enumerate({(file.part, file.label) for file in found})}
    size = np.array([file.size for file in found])
    place = np.array([places[file.part, file.label] for file in found])
    _, run = np.unique(size, return_inverse=True)
    lowest, highest = np.full(len(size), len(places)), np.full(len(size), -1)
    np.minimum.at(lowest, run, place)
    np.maximum.at(highest, run, place)
    return np.flatnonzero((lowest != highest)[run] & (size > 0))


def _digests(root: Path, suspects: list[files.File], threads: int) -> list[bytes]:
    stamps = cache.stamps([str(root / file.name) for file in suspects])

    def find():
        digests = np.zeros((len(suspects), 32), np.uint8)

        def visit(index):
            content = (root / suspects[index].name).read_bytes()
            digests[index] = np.frombuffer(hashlib.sha256(content).digest(), np.uint8)

        images.each(visit, len(suspects), threads, f'looking for copies in {root}')
        return {'digest': digests}

    return [
        row.tobytes()
        for row in cache.load_or_compute('copies', ['copies 1', stamps], find)['digest']
    ]
