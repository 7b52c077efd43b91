"""Atomic writes of files, and JSON records with a checksum."""

import contextlib
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from etils import epath

CHECKSUM = 'checksum'


def seal(record: dict) -> dict:
    """The record with a checksum of all other entries, under CHECKSUM."""
    body = {key: value for key, value in record.items() if key != CHECKSUM}
    text = json.dumps(body, sort_keys=True, separators=(',', ':'))
    return body | {CHECKSUM: hashlib.sha256(text.encode()).hexdigest()[:16]}


def is_intact(record: object) -> bool:
    """Whether a record was made by `seal` and is unchanged."""
    return isinstance(record, dict) and CHECKSUM in record and seal(record) == record


def unseal(record: object, place: str, remedy: str) -> dict:
    """The record of `seal` without its checksum.

    Args:
      record: as decoded from JSON.
      place: start of the message: 'runs/x/config.json is not the config of a run'.
      remedy: end of the message, an imperative: 'train it again'.

    Raises:
      ValueError: it was changed, or has no checksum.
    """
    if not is_intact(record):
        reason = (
            'its checksum does not match: it was changed or damaged since'
            if isinstance(record, dict) and CHECKSUM in record
            else 'it has no checksum: it was damaged, or written by a version of mpl without checksums'
        )
        raise ValueError(f'{place} as it was written ({reason}); {remedy}.')
    return {key: value for key, value in record.items() if key != CHECKSUM}


def write(path: epath.Path, record: dict) -> None:
    """Writes a sealed record, atomically: a kill leaves the old file or the new one."""
    write_utf8(path, json.dumps(seal(record), indent=2) + '\n')


def read(path: epath.Path, what: str, remedy: str) -> dict:
    """The record in a file, without its checksum.

    Args:
      path: of the file.
      what: the kind of file, for the message: 'the config of a run'.
      remedy: end of the message, an imperative: 'train it again'.

    Raises:
      ValueError: the file cannot be read, or was changed after it was written.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except ValueError as error:  # Not UTF-8.
        raise ValueError(f'{path} is not {what}: {error}; {remedy}.') from error
    return loads(text, f'{path} is not {what}', remedy)


def loads(text: str, place: str, remedy: str) -> dict:
    """The record in a text, without its checksum.

    Args:
      text: of a sealed record.
      place: start of the message: 'x.json is not a report'.
      remedy: end of the message, an imperative: 'train it again'.

    Raises:
      ValueError: the text is not JSON, or was changed after it was written.
    """
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:  # Not JSON, or nested beyond what Python reads.
        raise ValueError(f'{place}: {error}; {remedy}.') from error
    return unseal(record, place, remedy)


def write_utf8(path: epath.Path, text: str) -> None:
    """Writes a text in UTF-8, atomically; surrogates are escaped as \\udc80."""
    write_bytes(path, text.encode('utf-8', 'backslashreplace'))


def write_bytes(path: epath.Path, content: bytes) -> None:
    """Writes a file atomically: a kill or a full disk leaves the old file or the new one."""
    with open_atomic(path) as file:
        file.write(content)


@contextlib.contextmanager
def open_atomic(path: Path | epath.Path, mode: str = 'wb', **options) -> Iterator[IO]:
    """A file for writing that gets its name when the context ends without an error."""
    temporary = path.parent / (path.name + '.tmp')
    try:
        with temporary.open(mode, **options) as file:
            yield file
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
