"""The interface of export formats. A format is a file in this package with a function `make`."""

import importlib
from collections.abc import Callable
from typing import NamedTuple

from mpl.exports.model import Model
from mpl.run import sections

# (image [B, H, W, C] of the model's dtype) -> logits float32 [B, K], numpy arrays.
Predict = Callable


class Format(NamedTuple):
    """How a trained network is written to one file, and how that file is run."""

    suffix: str  # of the file, with a dot
    # (model) -> the content of the file, and of further files beside it by name. Raises ValueError
    # for a model that the format cannot hold.
    encode: Callable[[Model], tuple[bytes, dict[str, bytes]]]
    # (content of the file, description) -> Predict. Raises ValueError if the content is damaged.
    decode: Callable[[bytes, dict], Predict]


def names() -> list[str]:
    """The names of all formats."""
    return sections.module_names('exports')


def find(name: str) -> Format:
    """The format of a name.

    Raises:
      ValueError: unknown name.
    """
    if name not in names():
        raise ValueError(f'The format {name!r} is unknown; give one of {", ".join(names())}.')
    return importlib.import_module(f'mpl.exports.{name}').make()
