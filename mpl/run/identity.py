"""Records that identify the data of a run, kept with the run and with the files made from it.

A record has the class names, the shape of the images and, for each part (train, validation, test),
the number of examples and checksums of their names, labels and pixels. The pixel checksum covers:
all pixels of arrays in memory; every byte of encoded images in memory; only the file sizes of other
images, so that a change that keeps the size of an image file or array_record file is not detected;
the settings of synthetic images. Paths are not part of a record: names are relative to the folder
of the data set.
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
    """The record of a data set, JSON-serializable."""
    return {
        'classes': list(source.classes),
        'image_shape': list(source.image_shape),
        'dtype': str(source.train.read(np.zeros(0, np.int64)).dtype),
        'central': source.central,
        'parts': {name: _part(pool) for name, pool in _pools(source).items()},
    }


def index_record(record: dict, part: str = 'train') -> dict:
    """The entries of a record that the indices and labels of a part depend on."""
    parts = record['parts']
    return {'classes': record['classes'], 'parts': {part: parts[part]} if part in parts else {}}


def pack_labels(source: Source) -> dict[str, str]:
    """The labels of each part as text, to name changed ones later; at most 3 MB for ImageNet."""
    return {
        name: base64.b64encode(zlib.compress(_bytes(pool.label), 1)).decode()
        for name, pool in _pools(source).items()
    }


def unpack_labels(text: str) -> np.ndarray:
    """The labels of a part from the text of `pack_labels`, int32 [N]."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), '<i4').astype(np.int32)


def differences(old: dict, new: dict, labels: dict = {}, source: Source | None = None) -> list[str]:
    """The differences between two records, a phrase each; empty for none.

    Args:
      old, new: records, or results of `index_record`, optionally with the hash of a split under
        'split'. Keys that only one of them has are not compared.
      labels: those of the old record, from `pack_labels`, to name relabeled examples.
      source: the data set of the new record, if it is loaded.
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
    """A data set with the given record and labels, without images.

    Reading images raises ValueError; everything else of a run can be assembled.
    """
    shape, dtype = tuple(record['image_shape']), np.dtype(record['dtype'])

    def read(indices):
        if len(indices):
            raise ValueError('The images of the run were not loaded, only its networks.')
        return np.zeros((0, *shape), dtype)

    pools = {}
    for name in record['parts']:
        label = unpack_labels(labels[name])
        pools[name] = Pool(read, label, range(len(label)))
    train, validation, test = (pools[name] if name in pools else None for name in PARTS)
    return Source(train, validation, test, tuple(record['classes']), shape, record['central'])


def _pools(source):
    pools = zip(PARTS, (source.train, source.validation, source.test))
    return {name: pool for name, pool in pools if pool is not None}


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
    """The differences between the records of a part, except labels."""
    if old is None or new is None:
        before, after = (f'{p["examples"]:,} examples' if p else 'none' for p in (old, new))
        return [f'{name}: {before} -> {after}'] if old != new else []
    if old['examples'] != new['examples']:
        return [f'{name}: {old["examples"]:,} -> {new["examples"]:,} examples']
    lines = [f'names of the {name} examples'] if old['names'] != new['names'] else []
    words = {'sizes': 'file sizes of', 'files': 'files of', 'settings': 'settings of'}
    for kind in old['pixels'].keys() & new['pixels'].keys():
        if old['pixels'][kind] != new['pixels'][kind]:
            lines.append(f'{words[kind] if kind in words else "pixels of"} the {name} images')
    return lines


def _relabeled(name, label, classes, pool, new_classes):
    """The examples whose class name has changed."""
    before, after = (
        np.append(np.array(names, object), 'no label')[indices]
        for names, indices in ((classes, label), (new_classes, pool.label))
    )
    changed = np.flatnonzero(before != after)
    if not len(changed):
        return []
    shown = [f'{pool.name[n]}: {before[n]} -> {after[n]}' for n in changed[:SHOWN]]
    return [f'labels of {len(changed):,} {name} examples, such as {", ".join(shown)}']


def shorten(names: Sequence[str]) -> str:
    """The first names and the number of all, for a message."""
    more = f', ... ({len(names)})' if len(names) > 2 * SHOWN else ''
    return ', '.join(names[: 2 * SHOWN]) + more
