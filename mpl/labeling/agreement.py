"""How far several annotators agree, and a summary of all answers."""

import itertools
import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from mpl.labeling.answers import Answers


class Pair(NamedTuple):
    """Two annotators, on the images that both have answered."""

    annotators: tuple[str, str]
    images: int
    agreed: int
    kappa: float  # Cohen's; NaN if both gave one and the same label only


def pairs(votes: Mapping[str, Mapping[str, str]]) -> list[Pair]:
    """The agreement of every two annotators with an image in common."""
    from sklearn import metrics  # Takes seconds, which a page without it starts earlier.

    people = sorted({person for of in votes.values() for person in of})
    found = []
    for pair in itertools.combinations(people, 2):
        both = [tuple(of[p] for p in pair) for of in votes.values() if set(pair) <= set(of)]
        if both:
            first, second = zip(*both)
            with warnings.catch_warnings():
                warnings.simplefilter('ignore')  # Of a single label, whose kappa is NaN.
                kappa = float(metrics.cohen_kappa_score(first, second))
            found.append(Pair(pair, len(both), sum(a == b for a, b in both), kappa))
    return found


def show(answers: Answers) -> str:
    """The state of the answers in a few lines."""
    asked = sum(map(len, answers[:4]))
    lines = [
        f'{asked:,} pictures were asked for: {len(answers.label):,} have a class, '
        f'{len(answers.skipped):,} were skipped, {len(answers.tied):,} are ties, '
        f'{len(answers.open):,} are open.'
    ]
    several = [of for of in answers.votes.values() if len(of) > 1]
    if several:
        same = sum(len(set(of.values())) == 1 for of in several)
        lines.append(
            f'{len(several):,} were answered by several annotators, who agree on {same:,} '
            f'({100 * same / len(several):.1f} %).'
        )
    for pair in pairs(answers.votes):
        kappa = '-' if np.isnan(pair.kappa) else f'{pair.kappa:.2f}'
        lines.append(
            f'{" and ".join(pair.annotators)}: {pair.agreed:,} of {pair.images:,} alike, '
            f"Cohen's kappa {kappa}."
        )
    for path in answers.tied[:10]:
        said = ', '.join(f'{label} ({person})' for person, label in answers.votes[path].items())
        lines.append(f'Tie: {path}: {said}')
    if answers.tied[10:]:
        lines.append(f'and {len(answers.tied) - 10:,} more ties.')
    return '\n'.join(lines)
