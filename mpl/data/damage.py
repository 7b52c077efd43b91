"""Images that cannot be decoded: counts by part and class, and errors for classes without others."""

from collections.abc import Sequence

import numpy as np

from mpl.data import names, source, splits

Counts = dict[str, dict[str, int]]  # part -> class -> damaged images, without zeros
NO_LABEL = '(no label)'  # the class of images without a label
_MEASURED = ('validation', 'test')
_SHOWN = 20  # classes in a sentence


def check(of: source.Source, split: splits.Split) -> None:
    """Raises ValueError if no labeled image of a class can be decoded, or none of a measured part.

    Decodes images of each class, of validation and of test up to the first that can be decoded: one
    each if none is damaged. The error names the class or the part.
    """
    if of.train.damaged is not None:
        label = of.train.label[split.labeled]
        order = split.labeled[np.argsort(label, kind='stable')]
        present, starts = np.unique(np.sort(label), return_index=True)
        groups = np.split(order, starts[1:])
        for place in np.flatnonzero(of.train.damaged(order[starts])):  # Seldom any.
            name = of.classes[present[place]]
            _check(of.train, groups[place], f'labeled picture of class {name!r}')
    for part, (pool, indices) in measured(of, split).items():
        _check(pool, indices, f'{part} picture')


def measured(of: source.Source, split: splits.Split) -> dict[str, tuple[source.Pool, np.ndarray]]:
    """Validation and test, if not empty: the pool and the indices in it."""
    parts = {'validation': (of.train, split.validation)}
    for part, pool in (('validation', of.validation), ('test', of.test)):
        if pool is not None:
            parts[part] = pool, np.arange(len(pool.label))
    return {part: found for part, found in parts.items() if len(found[1])}


def count(parts: dict[str, tuple[source.Pool, np.ndarray]], classes: Sequence[str]) -> Counts:
    """Damaged images among these examples of pools; reads those that have not been read yet."""
    found = {}
    for part, (pool, indices) in parts.items():
        if pool.damaged is None:
            continue
        indices = np.unique(indices)
        label = pool.label[indices[pool.damaged(indices)]]
        if len(label):
            found[part] = by_class(label, classes)
    return found


def by_class(label: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Number of examples of each class, without zeros; label: int [n], -1 for none."""
    present, counts = np.unique(label, return_counts=True)
    return {NO_LABEL if k < 0 else classes[k]: int(number) for k, number in zip(present, counts)}


def warnings(gray: Counts, left_out: Counts) -> list[str]:
    """A warning for each part."""
    found = []
    for part, counts in gray.items():
        use = 'measured' if part in _MEASURED else 'trained on'
        found.append(
            f'{counted(part, counts)} cannot be decoded and are {use} as gray; repair them.'
        )
    for part, counts in left_out.items():
        found.append(f'{counted(part, counts)} cannot be decoded and are left out.')
    return found


def counted(part: str, counts: dict[str, int]) -> str:
    """'3 test pictures (ant 1, bee 2)'"""
    each = ', '.join(f'{name} {number}' for name, number in list(counts.items())[:_SHOWN])
    each += ', ...' if len(counts) > _SHOWN else ''
    return f'{sum(counts.values())} {part} picture(s) ({each})'


def _check(pool, indices, what):
    if pool.damaged is None or not len(indices):
        return
    if all(pool.damaged(indices[place : place + 1])[0] for place in range(len(indices))):
        raise ValueError(
            f'No {what} can be decoded, of {len(indices)} (the first is '
            f'{names.printable(pool.name[indices[0]])}): repair them, or leave the class or part out.'
        )
