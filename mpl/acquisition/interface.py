"""The interface of all acquisition rules, and the checks of what they get and give.

A rule is a file of this folder with `make(**numbers)`, which returns a pure function

    acquire(features, logits, labeled, candidates, budget, key) -> numbers int64 [budget]

    features    [N, D]: of every image of the pool, for rules that compare images
    logits      S arrays [N, K]: of S passes over the pool (views, networks, dropout); [0, N, K] for none.
                Projections of length 1, [N, D], for rules that ask for them
    labeled     bool [N]: the images that have labels
    candidates  bool [N]: the images to choose from
    budget      number of images to choose
    key         jax key for every random draw

The numbers are in the order of choice: where a budget is cut, the first ones are kept. Features and
logits are arrays or files of rows: they have a shape and `[numbers]` reads rows, so that a pool need
not fit into memory. Rows of images that are neither labeled nor candidates may be NaN.
"""

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from mpl import acquisition

ROWS = 1 << 14  # that are read at a time

Acquire = Callable[..., np.ndarray]


class Needs(NamedTuple):
    """What a rule needs of the passes, the constant NEEDS of its file; the default where it has none."""

    passes: int = 0  # the smallest S
    projections: bool = False  # in place of logits, as for `contrastive`


def find(name: str) -> Callable:
    """The function `make` of mpl/acquisition/<name>.py; raises ValueError if there is none."""
    return _module(name).make


def check_needs(rule: dict, logits: str, passes: int) -> None:
    """Raises ValueError if a rule, or one that it wraps, needs other passes than the config has.

    Args:
      rule: the section `active.rule`.
      logits, passes: `active.logits` and `active.passes`.
    """
    module, name = _module(rule['name']), rule['name']
    needs = module.NEEDS if hasattr(module, 'NEEDS') else Needs()
    if 'rule' in rule:
        check_needs(rule['rule'], logits, passes)
    what, fits = 'logits', ("'network'", "'views' or 'dropout'")
    if needs.projections:
        what, fits = 'projections', ("'projections'",) * 2
    if needs.projections != (logits == 'projections'):
        raise ValueError(
            f'The rule {name!r} takes {what}, but active.logits is {logits!r}; set it to {fits[0]}.'
        )
    if passes < needs.passes:
        raise ValueError(
            f'The rule {name!r} compares {needs.passes} or more passes over the pool, but active.passes is '
            f'{passes}; raise it, with active.logits={fits[1]}.'
        )


def _module(name):
    if isinstance(name, str) and name.isidentifier():
        if importlib.util.find_spec(f'mpl.acquisition.{name}') is not None:
            module = importlib.import_module(f'mpl.acquisition.{name}')
            if hasattr(module, 'make'):
                return module
    names = [
        module.name
        for module in pkgutil.iter_modules(acquisition.__path__)
        if '\ndef make('
        in Path(acquisition.__path__[0], module.name + '.py').read_text(encoding='utf-8')
    ]
    raise ValueError(
        f'The acquisition rule {name!r} is unknown; choose one of {", ".join(names)}, or add '
        f'mpl/acquisition/{name}.py.'
    )


def choose(
    acquire: Acquire,
    features: np.ndarray,
    logits: Sequence[np.ndarray],
    labeled: np.ndarray,
    candidates: np.ndarray,
    budget: int,
    key: jax.Array,
) -> np.ndarray:
    """The numbers that a rule chooses, int64 [budget]; for the arguments see above.

    Raises:
      ValueError: the arguments do not fit, features or logits are not finite, the budget is not
        within the candidates, or the rule needs other logits.
      RuntimeError: the rule gave other numbers than asked for.
    """
    _check(features, logits, labeled, candidates, budget)
    numbers = np.asarray(acquire(features, logits, labeled, candidates, budget, key))
    distinct = len(np.unique(numbers)) == budget
    if numbers.shape != (budget,) or not distinct or not candidates[numbers].all():
        raise RuntimeError(
            f'The acquisition rule {acquire.__module__} gave {len(numbers)} numbers that are not '
            f'{budget} distinct candidates; correct the rule.'
        )
    return numbers.astype(np.int64)


def chunks(numbers: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """The numbers, ROWS at a time, each with its place in all of them."""
    for start in range(0, len(numbers), ROWS):
        place = slice(start, min(start + ROWS, len(numbers)))
        yield place, numbers[place]


def read(rows: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """These rows as float32, read in chunks."""
    found = np.empty((len(numbers), rows.shape[1]), np.float32)
    for place, chunk in chunks(numbers):
        found[place] = rows[chunk]
    return found


def count_classes(logits: Sequence[np.ndarray]) -> int:
    """K, of S arrays [N, K]; where S is 0, of an array [0, N, K]."""
    return logits[0].shape[-1] if len(logits) else logits.shape[-1]


def seed(key: jax.Array) -> int:
    """A seed of numpy and scikit-learn from a jax key."""
    return int(jax.random.bits(key, dtype=np.uint32))


def _check(features, logits, labeled, candidates, budget):
    examples = len(candidates)
    shapes = [features.shape[0], len(labeled), *(one.shape[0] for one in logits)]
    if any(shape != examples for shape in shapes):
        raise ValueError(
            f'Features, masks and logits are of {shapes[0]:,}, {shapes[1]:,} and {shapes[2:]} images, '
            f'but there are {examples:,} in the pool; give those of one pool.'
        )
    if len({one.shape for one in logits}) > 1:
        raise ValueError('The logits of the passes are of different numbers of classes.')
    if both := np.count_nonzero(labeled & candidates):
        raise ValueError(f'{both:,} labeled images are among the candidates; leave them out.')
    left = np.count_nonzero(candidates)
    if not left:
        raise ValueError('There are no candidates left to label: every image of the pool is used.')
    if not 1 <= budget <= left:
        raise ValueError(f'The budget is {budget:,}, but {left:,} candidates are left; lower it.')
    numbers = np.flatnonzero(labeled | candidates)
    for what, rows in (('features', features), *(('logits', one) for one in logits)):
        bad = [chunk[~np.isfinite(rows[chunk]).all(-1)] for _, chunk in chunks(numbers)]
        bad = np.concatenate(bad)
        if len(bad):
            raise ValueError(
                f'The {what} of {len(bad):,} images are not finite, the first of example {bad[0]}; '
                'predict them again, or with another network.'
            )
