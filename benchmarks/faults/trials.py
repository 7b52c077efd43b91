"""Trials of a campaign: kept in a file as they end, so that the same command goes on, and counted."""

import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tabulate import tabulate
from tqdm import tqdm

FAULT = 'FAULT'


class Outcome(NamedTuple):
    """The outcome of a trial."""

    case: str  # a row of the table
    kind: str  # a column of it; FAULT for a fault
    detail: str = ''


def repeat(
    folder: Path, name: str, count: int, trial: Callable[[int], list[Outcome]]
) -> list[Outcome]:
    """At least `count` outcomes, kept in <folder>/<name>.jsonl; those there are not tried again.

    trial: makes one outcome or several, from the number of those before.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{name}.jsonl'
    lines = path.read_text(encoding='utf-8').splitlines() if path.exists() else []
    outcomes = [Outcome(*json.loads(line)) for line in lines]
    with tqdm(total=count, initial=len(outcomes), desc=name, unit='trial') as bar:
        while len(outcomes) < count:
            new = trial(len(outcomes))
            with path.open('a', encoding='utf-8') as file:
                file.writelines(json.dumps(outcome) + '\n' for outcome in new)
            outcomes += new
            bar.update(len(new))
    return outcomes


def show(outcomes: list[Outcome]) -> str:
    """A row for each case, a column for each kind, and below it every fault once."""
    counts = Counter((of.case, of.kind) for of in outcomes)
    kinds = sorted({of.kind for of in outcomes} - {FAULT}) + [FAULT]
    rows = [
        [case, sum(counts[case, kind] for kind in kinds), *(counts[case, kind] for kind in kinds)]
        for case in dict.fromkeys(of.case for of in outcomes)
    ]
    faults = dict.fromkeys(f'{of.case}: {of.detail}' for of in outcomes if of.kind == FAULT)
    return '\n'.join([tabulate(rows, ['case', 'trials', *kinds]), *faults])
