"""Compact storage for the names of millions of examples, and names in messages."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class Names(Sequence):
    """An immutable sequence of strings in one byte string.

    It takes about 8 bytes per name besides its characters; a list takes 65. A slice is a list. File
    names that are not UTF-8 are preserved.
    """

    def __init__(self, text: bytes, end: np.ndarray):
        """text: all names in UTF-8, concatenated; end: int64 [N], the end of each name in bytes."""
        self.text, self.end = text, end

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, index):
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        index = range(len(self))[index]  # handles negative indices and raises IndexError
        start = self.end[index - 1] if index else 0
        return self.text[start : self.end[index]].decode(errors='surrogateescape')

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self.end:
            yield self.text[start:end].decode(errors='surrogateescape')
            start = end


def pack(names: Iterable[str]) -> Names:
    """The names as a compact sequence."""
    text, lengths = bytearray(), []
    for name in names:
        encoded = name.encode(errors='surrogateescape')
        text += encoded
        lengths.append(len(encoded))
    return Names(bytes(text), np.cumsum(lengths, dtype=np.int64))


def printable(name: str) -> str:
    """A name for a message, quoted with escapes if it has unprintable characters."""
    return name if name.isprintable() else repr(name)


def examples(found: Sequence[str], most: int) -> str:
    """The first `most` of the sorted names for a message, followed by '...' if there are more."""
    return ', '.join(
        [printable(name) for name in sorted(found)[:most]] + ['...'] * (len(found) > most)
    )


def is_utf8(text: str) -> bool:
    """Whether a text can be encoded in UTF-8; with surrogate escapes it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
