"""Splits in JSON files: saved by a run, selected, or written by hand."""

import json

from absl import logging
from etils import epath

from mpl.data import splits
from mpl.data.source import Source
from mpl.data.splits import Split
from mpl.run import identity, records

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
