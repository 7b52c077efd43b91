"""Paths of the command line and of configs: parsed and checked."""

import os
import unicodedata

from etils import epath

CONTROL = (
    'Cc',
    'Zl',
    'Zp',
)  # Unicode categories: control characters, line and paragraph separators


def parse(text: str, name: str) -> str:
    """A path with a leading ~ or ~user expanded to a home directory.

    Everything else is literal: brackets, *, ?, $, colons, spaces, quotes, %. Write a relative
    path that begins with ~ as ./~.

    Args:
      text: the path.
      name: the argument or config key, for the message: '--workdir'.

    Raises:
      ValueError: the path is empty, or not UTF-8, or has a control character, an unknown home
        directory or an unknown scheme.
    """
    if not text:
        raise ValueError(f'{name} is empty; give a path.')
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(
            f'{name} {text!r} is not UTF-8 (or the locale is not; LANG=C.UTF-8 is); give another path.'
        ) from error
    check_printable(text, name)
    expanded = os.path.expanduser(text)
    if expanded.startswith('~'):
        raise ValueError(
            f'{name} {text!r} begins with ~, but there is no such home directory; give the whole '
            'path, or ./~ for a file or folder of that name.'
        )
    try:
        path = os.fspath(epath.Path(expanded))
    except KeyError as error:
        raise ValueError(
            f'{name} {text!r} has an unknown scheme; give a path on a disk, or in a bucket as '
            'gs://bucket/path.'
        ) from error
    if is_remote(path) and not is_remote(expanded):
        raise ValueError(
            f'{name} {text!r} is parsed as the bucket {path} by etils.epath; give another path.'
        )
    # epath drops ./, and the rest must not be expanded when it is parsed again.
    return os.path.abspath(path) if path.startswith('~') else path


def check_printable(text: str, name: str) -> None:
    """Refuses a path with control characters.

    Raises:
      ValueError: it has one.
    """
    if '\0' in text or any(unicodedata.category(character) in CONTROL for character in text):
        raise ValueError(
            f'{name} {text!r} has a control character, such as a line break, which would break log '
            'lines and tables; give another path.'
        )


def parse_local(text: str, name: str) -> str:
    """`parse` for local paths; also raises ValueError for a path in a bucket."""
    path = parse(text, name)
    if is_remote(path):
        raise ValueError(f'{name} {text!r} is in a bucket; give a path on a disk.')
    return path


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path is in a bucket, such as gs://bucket/runs/x."""
    return '://' in os.fspath(path)
