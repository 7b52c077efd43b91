"""Pictures that can not be decoded: counted by part and class, and refused where a class has no other."""

from collections.abc import Sequence

import numpy as np

from mpl.data import names, source, splits

Counts = dict[str, dict[str, int]]  # part -> class -> pictures; only where there are any
NO_LABEL = '(no label)'  # the class of pictures without one
_MEASURED = ('validation', 'test')
_SHOWN = 20  # classes in a sentence


def check(of: source.Source, split: splits.Split) -> None:
    """Refuses a split with a class of which no labeled picture can be decoded.

    Also where no validation or no test picture can be. Decodes pictures of each until
    the first that can be: one for each class where none is damaged.

    Raises ValueError, which names the class or the part.
    """
    if of.train.damaged is not None:
        label = of.train.label[split.labeled]
        order = split.labeled[np.argsort(label, kind='stable')]
        present, starts = np.unique(np.sort(label), return_index=True)
        groups = np.split(order, starts[1:])
        for place in np.flatnonzero(of.train.damaged(order[starts])):  # Seldom any.
            name = of.classes[present[place]]
            _check(of.train, groups[place], f'labeled picture of class {name!r}')
    for part, (pool, numbers) in measured(of, split).items():
        _check(pool, numbers, f'{part} picture')


def measured(of: source.Source, split: splits.Split) -> dict[str, tuple[source.Pool, np.ndarray]]:
    """Validation and test, where there are any: the pool and the numbers in it."""
    parts = {'validation': (of.train, split.validation)}
    for part, pool in (('validation', of.validation), ('test', of.test)):
        if pool is not None:
            parts[part] = pool, np.arange(len(pool.label))
    return {part: found for part, found in parts.items() if len(found[1])}


def count(parts: dict[str, tuple[source.Pool, np.ndarray]], classes: Sequence[str]) -> Counts:
    """Damaged pictures among these examples of pools; reads those that have not been read yet."""
    found = {}
    for part, (pool, numbers) in parts.items():
        if pool.damaged is None:
            continue
        numbers = np.unique(numbers)
        label = pool.label[numbers[pool.damaged(numbers)]]
        if len(label):
            found[part] = by_class(label, classes)
    return found


def by_class(label: np.ndarray, classes: Sequence[str]) -> dict[str, int]:
    """Examples of each class that has any; label: int [n], -1 for none."""
    present, counts = np.unique(label, return_counts=True)
    return {
        NO_LABEL if number < 0 else classes[number]: int(one)
        for number, one in zip(present, counts)
    }


def warnings(gray: Counts, left_out: Counts) -> list[str]:
    """A warning for each part."""
    told = []
    for part, counts in gray.items():
        done = 'measured' if part in _MEASURED else 'trained on'
        told.append(
            f'{counted(part, counts)} can not be decoded and are {done} as gray; mend them.'
        )
    for part, counts in left_out.items():
        told.append(f'{counted(part, counts)} can not be decoded and are left out.')
    return told


def counted(part: str, counts: dict[str, int]) -> str:
    """'3 test pictures (ant 1, bee 2)'"""
    each = ', '.join(f'{name} {number}' for name, number in list(counts.items())[:_SHOWN])
    each += ', ...' if len(counts) > _SHOWN else ''
    return f'{sum(counts.values())} {part} picture(s) ({each})'


def _check(pool, numbers, what):
    if pool.damaged is None or not len(numbers):
        return
    if all(pool.damaged(numbers[place : place + 1])[0] for place in range(len(numbers))):
        raise ValueError(
            f'No {what} can be decoded, of {len(numbers)} (the first is '
            f'{names.printable(pool.name[numbers[0]])}): mend them, or leave the class or part out.'
        )
