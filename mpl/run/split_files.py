"""The split of a run: drawn, or in a JSON file saved by a run, selected, or written by hand.

The indices of a large split are in <path>.npy beside the file, int64, all parts one after the other.
They are memory-mapped, and compared with the hash in the JSON file whenever they are read.
"""

import contextlib
import json
import os

import numpy as np
from absl import logging
from etils import epath
from ml_collections import ConfigDict

from mpl.data import splits
from mpl.data.source import Source
from mpl.data.splits import Split
from mpl.run import identity, paths, records

LARGE = 1_000_000  # a split with more indices than this has them in an npy file
MADE = ('data', 'made_by')  # keys of files that were not written by hand


def write(path: epath.Path, split: Split, data: dict, made_by: dict) -> None:
    """Writes a split, atomically.

    Args:
      path: of the file.
      split: of the training set.
      data: the record of the data set; see identity.py.
      made_by: the provenance of the split, JSON-serializable.
    """
    examples = data['parts']['train']['examples']
    sizes = {part: len(getattr(split, part)) for part in splits.PARTS}
    if sum(sizes.values()) > LARGE:
        _write_indices(path, split)
        record = {'examples': examples, 'hash': split.hash, 'sizes': sizes}
    else:
        record = splits.to_record(split, examples)
    record |= {'data': identity.index_record(data), 'made_by': made_by}
    records.write_utf8(path, json.dumps(records.seal(record)) + '\n')


def read(path: epath.Path, data: dict) -> tuple[Split, dict | None]:
    """A split of a data set, and its provenance; None if it was written by hand.

    A file written by hand has only the lists of indices and 'examples', the size of the training
    set. Only that number is compared with the data, and a warning is logged.

    Args:
      path: of the file.
      data: the record of the data set.

    Raises:
      ValueError: the file cannot be read, was changed, is inconsistent, or is of other data.
    """
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f'The split {path} cannot be read as JSON: {error}.') from error
    made = None
    if isinstance(record, dict) and set(MADE) <= set(record):
        if not records.is_intact(record):
            raise ValueError(
                f'The split {path} was changed after it was written (its checksum does not match); '
                f'write it again, or remove {", ".join(MADE)}, hash and {records.CHECKSUM} from it '
                'if the change was intended.'
            )
        made = {key: record.pop(key) for key in (*MADE, records.CHECKSUM)}
        if lines := identity.differences(made['data'], identity.index_record(data)):
            raise ValueError(
                f'The split {path} is of other data than these ({"; ".join(lines)}); give a split '
                'of this data set.'
            )
        if 'sizes' in record:
            return _read_indices(path, record), made['made_by']
    split, _ = splits.from_record(record, str(path), data['parts']['train']['examples'])
    if made is None:
        logging.warning(
            'The split %s does not record its data; only the number of examples was '
            'compared.', path
        )  # fmt: skip
    return split, made and made['made_by']


def load(path: epath.Path, source: Source) -> Split:
    """The split in a file, also checked against the labels of the data set; see `read`."""
    split, _ = read(path, identity.make(source))
    splits.check_labels(split, source.train.label, str(path))
    return split


def _beside(path):
    return path.parent / (path.name + '.npy')


def _write_indices(path, split):
    """Writes the indices, atomically and without a copy of them in memory."""
    parts = [getattr(split, part) for part in splits.PARTS]
    with records.open_atomic(_beside(path)) as file:
        form = {'descr': '<i8', 'fortran_order': False, 'shape': (sum(map(len, parts)),)}
        np.lib.format.write_array_header_1_0(file, form)
        for part in parts:
            for start in range(0, len(part), splits.CHUNK):
                file.write(part[start : start + splits.CHUNK].astype('<i8').tobytes())


def _read_indices(path, record):
    """The split whose indices are in a file of their own, mapped into memory if it is on a disk."""
    beside, indices = _beside(path), None
    with contextlib.suppress(OSError, ValueError, EOFError):  # numpy's message is about pickles.
        if paths.is_remote(beside):
            with beside.open('rb') as file:
                indices = np.lib.format.read_array(file, allow_pickle=False)
        else:
            indices = np.load(os.fspath(beside), mmap_mode='r', allow_pickle=False)
    ends = np.cumsum([record['sizes'][part] for part in splits.PARTS])
    if indices is not None and indices.dtype == np.int64 and indices.shape == (ends[-1],):
        split = splits.from_indices(*np.split(indices, ends[:-1]))
        if split.hash == record['hash']:
            return split
    raise ValueError(
        f'The indices of the split {path} are not in {beside} as they were written; keep the two files '
        'together, or write them again.'
    )


def make(config: ConfigDict, source: Source) -> splits.Split:
    """The split of a run, drawn or read from split.file.

    Raises:
      ValueError: a value of the section is not allowed, or the data have too few examples.
    """
    if config.split.validation and source.validation is not None:
        raise ValueError(
            f'split.validation is {config.split.validation}, but the source has a validation part '
            'of its own; set it to 0.'
        )
    if config.split.file:
        own = config.split
        if own.labels or own.validation or own.imbalance != 1 or own.rare:
            raise ValueError(
                'split.file has the indices of all examples; set labels and validation to 0, '
                'imbalance to 1, rare to ().'
            )
        split = load(epath.Path(paths.parse(config.split.file, 'split.file')), source)
    else:
        split = _draw(config, source)
    for name in ('labeled', 'unlabeled'):
        if config.batch[name] and not len(getattr(split, name)):
            raise ValueError(
                f'batch.{name} is {config.batch[name]}, but the split has no {name} examples; '
                'set it to 0, or change the split.'
            )
    return split


def _draw(config, source):
    return splits.draw(
        source.train.label,
        config.split.labels,
        config.split.validation,
        config.seed,
        config.split.unlabeled_includes_labeled,
        source.classes,
        config.split.imbalance,
        config.split.rare,
    )
