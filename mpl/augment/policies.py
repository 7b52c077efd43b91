"""The registry of policies: files of this folder with a function `policy`, by name."""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from pathlib import Path

from mpl import augment


def find(name: str) -> Callable:
    """The function `policy` of mpl/augment/<name>.py, which returns a strong view for its parameters.

    The view is a function (key, image float32 [B, H, W, C] in [0, 255]) -> image of the same shape and
    range. Its random draws for image i depend on the key and on i, not on B.

    Raises ValueError if there is none.
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
