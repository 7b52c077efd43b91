"""The handwritten digits with labels bought one batch after another: active learning.

    python -m mpl.active --config=configs/digits_active.py:learner=freematch,rule=typiclust --workdir=runs/al
    python -m mpl.active --config=configs/digits_active.py:rule=margin,budget=20,cycles=3 --workdir=runs/al2

Any method of configs/digits.py, with its hyperparameters, which were tuned with 40 labels of balanced
classes. The first `start` images are drawn uniformly, or chosen by the rule itself from pixels with
start_from=pixels; 600 images are for the test, none for validation. `balanced` buys equal numbers of
every class, which needs the true labels of the pool: an oracle, no rule.
"""

from typing import Literal

from . import digits

Rule = Literal[
    'random', 'balanced', 'entropy', 'least_confidence', 'margin', 'bald', 'consistency', 'k_center',
    'badge', 'typiclust', 'probcover', 'contrastive',
]  # fmt: skip


def passes(rule: Rule) -> dict:
    """The passes over the pool that a rule takes, of the section `active`."""
    if rule in ('bald', 'consistency'):
        return dict(logits='views', passes=10)
    if rule == 'contrastive':
        return dict(logits='projections', passes=2)
    return dict(logits='network', passes=1)


def get_config(
    learner: str = 'freematch',
    rule: Rule = 'typiclust',
    start: int = 10,
    budget: int = 10,
    cycles: int = 5,
    start_from: Literal['random', 'pixels'] = 'random',
):
    if learner not in digits.METHODS:
        raise ValueError(f'learner is {learner!r}; give one of {", ".join(digits.METHODS)}.')
    chosen = digits.METHODS[learner]()
    chosen.split = dict(labels=0, validation=0)
    chosen.active = dict(
        rule=dict(name=rule),
        start=start,
        budget=budget,
        cycles=cycles,
        start_from=start_from,
        **passes(rule),
    )
    if rule == 'balanced':
        chosen.active.rule = dict(name='per_predicted_class', rule=dict(name='random'))
        chosen.active.logits = 'labels'
    return chosen
