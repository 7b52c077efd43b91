"""The interface of export formats. A format is a file in this package with a function `make`."""

import importlib
import pkgutil
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mpl.exports
from mpl.exports.model import Model

# (image [B, H, W, C] of the model's dtype) -> logits float32 [B, K], numpy arrays.
Predict = Callable


class Format(NamedTuple):
    """How a trained network is written to one file, and how that file is run."""

    suffix: str  # of the file, with a dot
    # (model) -> the content of the file, and of further files beside it by name. Raises ValueError
    # for a model that the format can not hold.
    encode: Callable[[Model], tuple[bytes, dict[str, bytes]]]
    # (content of the file, description) -> Predict. Raises ValueError if the content is damaged.
    decode: Callable[[bytes, dict], Predict]


def names() -> list[str]:
    """The names of all formats."""
    return [
        module.name
        for module in pkgutil.iter_modules(mpl.exports.__path__)
        if re.search(r'^def make\(', _read(module.name), re.M)
    ]


def _read(name):
    return Path(mpl.exports.__path__[0], f'{name}.py').read_text(encoding='utf-8')


def find(name: str) -> Format:
    """The format of a name.

    Raises:
      ValueError: unknown name.
    """
    if name not in names():
        raise ValueError(f'The format {name!r} is unknown; give one of {", ".join(names())}.')
    return importlib.import_module(f'mpl.exports.{name}').make()
