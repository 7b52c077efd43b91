"""What data a run was trained on, as a record that is kept with the run and with what it makes.

A record has the class names, the shape of the images, and of each part (train, validation, test)
the number of examples and checksums of their names, their labels and what is cheaply known of
their pixels: of images in memory all of them; of encoded pictures that are kept in memory every
byte; of others only the sizes of their files, so that a picture replaced by one of the same number
of bytes is not noticed there, nor one whose record in an array_record file changes and leaves the
file's size; of synthetic images the settings they are computed from. Places are not part of it:
names are relative to the folder of a data set.
"""

import base64
import hashlib
import zlib
from collections.abc import Sequence

import numpy as np

from mpl.data.source import Pool, Source

PARTS = ('train', 'validation', 'test')
SHOWN = 3  # examples or classes in a message


def make(source: Source) -> dict:
    """The record of a data set, JSON-able."""
    return {
        'classes': list(source.classes),
        'image_shape': list(source.image_shape),
        'dtype': str(source.train.read(np.zeros(0, np.int64)).dtype),
        'central': source.central,
        'parts': {name: _part(pool) for name, pool in _pools(source).items()},
    }


def index_record(record: dict, part: str = 'train') -> dict:
    """What of a record the meaning of the example numbers and labels of a part rests on."""
    parts = record['parts']
    return {'classes': record['classes'], 'parts': {part: parts[part]} if part in parts else {}}


def pack_labels(source: Source) -> dict[str, str]:
    """The labels of each part as text, so that changed ones can be named: 3 MB for ImageNet at most."""
    return {
        name: base64.b64encode(zlib.compress(_bytes(pool.label), 1)).decode()
        for name, pool in _pools(source).items()
    }


def unpack_labels(text: str) -> np.ndarray:
    """What `pack_labels` made of the labels of a part, int32 [N]."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), '<i4').astype(np.int32)


def differences(old: dict, new: dict, labels: dict = {}, source: Source | None = None) -> list[str]:
    """What differs between two records, a phrase each; empty where nothing does.

    Args:
      old, new: records, whole or what `index_record` leaves; with 'split', the hash of a split, or
        without. What only one of them has is not compared.
      labels: those of the old record, from `pack_labels`, to name examples whose labels differ.
      source: the data set of the new record, where it is at hand.
    """
    lines = []
    if old['classes'] != new['classes']:
        lines.append(f'classes: {shorten(old["classes"])} -> {shorten(new["classes"])}')
    for key in ('image_shape', 'dtype', 'central'):
        if key in old and key in new and old[key] != new[key]:
            lines.append(f'{key.replace("_", " ")}: {old[key]} -> {new[key]}')
    for name in PARTS:
        was, now = ((r['parts'][name] if name in r['parts'] else None) for r in (old, new))
        lines += _compare(name, was, now)
        if not (was and now) or was['examples'] != now['examples']:
            continue
        if was['names'] == now['names'] and name in labels and source:
            label = unpack_labels(labels[name])
            lines += _relabeled(name, label, old['classes'], _pools(source)[name], source.classes)
        elif was['labels'] != now['labels']:
            lines.append(f'labels of the {name} examples')
    if 'split' in old and 'split' in new and old['split'] != new['split']:
        lines.append(f'split: {old["split"]} -> {new["split"]}')
    return lines


def placeholder_source(record: dict, labels: dict) -> Source:
    """A data set of that record and those labels whose images are not at hand.

    Reading images raises ValueError; everything else of a run can be assembled with it.
    """
    shape, dtype = tuple(record['image_shape']), np.dtype(record['dtype'])

    def read(numbers):
        if len(numbers):
            raise ValueError(
                'The images of the run are not at hand; only its networks were loaded.'
            )
        return np.zeros((0, *shape), dtype)

    pools = {}
    for name in record['parts']:
        label = unpack_labels(labels[name])
        pools[name] = Pool(read, label, range(len(label)))
    train, validation, test = (pools[name] if name in pools else None for name in PARTS)
    return Source(train, validation, test, tuple(record['classes']), shape, record['central'])


def _pools(source):
    there = zip(PARTS, (source.train, source.validation, source.test))
    return {name: pool for name, pool in there if pool is not None}


def _part(pool):
    names = b'\0'.join(str(name).encode(errors='surrogateescape') for name in pool.name)
    return {
        'examples': len(pool.label),
        'names': hashlib.sha256(names).hexdigest()[:16],
        'labels': hashlib.sha256(_bytes(pool.label)).hexdigest()[:16],
        'pixels': pool.content() if pool.content is not None else {},
    }


def _bytes(label):
    return np.asarray(label, '<i4').tobytes()


def _compare(name, old, new):
    """What differs between the records of a part, but for its labels."""
    if old is None or new is None:
        was, is_ = (f'{p["examples"]:,} examples' if p else 'none' for p in (old, new))
        return [f'{name}: {was} -> {is_}'] if old != new else []
    if old['examples'] != new['examples']:
        return [f'{name}: {old["examples"]:,} -> {new["examples"]:,} examples']
    lines = [f'names of the {name} examples'] if old['names'] != new['names'] else []
    words = {'sizes': 'file sizes of', 'files': 'files of', 'settings': 'settings of'}
    for kind in old['pixels'].keys() & new['pixels'].keys():
        if old['pixels'][kind] != new['pixels'][kind]:
            lines.append(f'{words[kind] if kind in words else "pixels of"} the {name} images')
    return lines


def _relabeled(name, label, classes, pool, new_classes):
    """The examples whose class has another name than before."""
    before, after = (
        np.append(np.array(names, object), 'no label')[of]
        for names, of in ((classes, label), (new_classes, pool.label))
    )
    changed = np.flatnonzero(before != after)
    if not len(changed):
        return []
    shown = [f'{pool.name[n]}: {before[n]} -> {after[n]}' for n in changed[:SHOWN]]
    return [f'labels of {len(changed):,} {name} examples, such as {", ".join(shown)}']


def shorten(names: Sequence[str]) -> str:
    """The first names, for a message."""
    more = f', ... ({len(names)})' if len(names) > 2 * SHOWN else ''
    return ', '.join(names[: 2 * SHOWN]) + more
