"""The names of millions of examples in little memory."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np


class Names(Sequence):
    """Texts in one string of bytes: about 8 bytes each beside their letters, where a list takes 65.

    Reads like a list of str that can not be changed; a slice is a list. File names that
    are not UTF-8 come back as they were.
    """

    def __init__(self, text: bytes, end: np.ndarray):
        """text: all names in UTF-8, one after the other; end: int64 [N], where each ends."""
        self.text, self.end = text, end

    def __len__(self) -> int:
        return len(self.end)

    def __getitem__(self, number):
        if isinstance(number, slice):
            return [self[n] for n in range(*number.indices(len(self)))]
        number = range(len(self))[number]  # negative ones, and IndexError
        start = self.end[number - 1] if number else 0
        return self.text[start : self.end[number]].decode(errors='surrogateescape')

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in self.end:
            yield self.text[start:end].decode(errors='surrogateescape')
            start = end


def pack(names: Iterable[str]) -> Names:
    """The names in one string."""
    text, lengths = bytearray(), []
    for name in names:
        encoded = name.encode(errors='surrogateescape')
        text += encoded
        lengths.append(len(encoded))
    return Names(bytes(text), np.cumsum(lengths, dtype=np.int64))


def printable(name: str) -> str:
    """A name for a message: quoted where it has line breaks or other characters that can not be seen."""
    return name if name.isprintable() else repr(name)


def examples(found: Sequence[str], most: int) -> str:
    """The first names in their order, for a message; '...' behind them where there are more."""
    return ', '.join(
        [printable(name) for name in sorted(found)[:most]] + ['...'] * (len(found) > most)
    )


def is_utf8(text: str) -> bool:
    """Whether a text can be written in UTF-8; one with bytes that were none can not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
