"""Policies: files of this folder with a function `policy`, found by their names."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path

from mpl import augment


def find(name: str) -> Callable:
    """The function `policy` of mpl/augment/<name>.py, which makes a strong view from its parameters.

    What it returns takes (key, image float32 [B, H, W, C] in [0, 255]) to the same shape and range,
    and its random draws for image i depend on the key and on i, not on B.

    Raises ValueError where there is none.
    """
    if isinstance(name, str) and name.isidentifier():
        if importlib.util.find_spec(f'mpl.augment.{name}') is not None:
            module = importlib.import_module(f'mpl.augment.{name}')
            if hasattr(module, 'policy'):
                return module.policy
    names = [
        module.name
        for module in pkgutil.iter_modules(augment.__path__)
        if '\ndef policy('
        in Path(augment.__path__[0], module.name + '.py').read_text(encoding='utf-8')
    ]
    raise ValueError(
        f'The policy {name!r} is unknown; choose one of {", ".join(names)}, or add '
        f'mpl/augment/{name}.py.'
    )
