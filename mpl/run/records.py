"""JSON records that show whether they are still what was written: each carries its own checksum."""

import hashlib
import json

from etils import epath

from mpl.run import metrics

CHECKSUM = 'checksum'


def seal(record: dict) -> dict:
    """The record with a checksum of everything else in it, under CHECKSUM."""
    body = {key: value for key, value in record.items() if key != CHECKSUM}
    text = json.dumps(body, sort_keys=True, separators=(',', ':'))
    return body | {CHECKSUM: hashlib.sha256(text.encode()).hexdigest()[:16]}


def is_intact(record: object) -> bool:
    """Whether a record is one that `seal` made, unchanged since."""
    return isinstance(record, dict) and CHECKSUM in record and seal(record) == record


def write(path: epath.Path, record: dict) -> None:
    """Writes a sealed record, whole: a kill leaves the file before or the new one."""
    metrics.write_whole(path, json.dumps(seal(record), indent=2, sort_keys=True) + '\n')


def read(path: epath.Path, what: str, remedy: str) -> dict:
    """A record as it was written, without its checksum.

    Args:
      path: of the file.
      what: the file is, for the message: 'the config of a run'.
      remedy: what to do where it is damaged, a clause: 'train it again'.

    Raises:
      ValueError: the file can not be read, or was changed after it was written.
    """
    try:
        record = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:  # Not JSON, or not UTF-8.
        raise ValueError(f'{path} is not {what}: {error}; {remedy}.') from error
    if not is_intact(record):
        raise ValueError(
            f'{path} is not {what} as it was written (its checksum does not match): it was changed '
            f'or damaged since; {remedy}.'
        )
    return {key: value for key, value in record.items() if key != CHECKSUM}
