"""A wrapper: any rule, with a quota for each predicted class."""

import heapq
from typing import Annotated

import jax
import numpy as np

from mpl.acquisition import interface, scores
from mpl.acquisition.interface import Acquire


def make(rule: Annotated[dict, interface.find] = {'name': 'random'}) -> Acquire:
    """`rule` within every predicted class, the most probable one of the mean over the passes.

    Quotas fill up the classes with the fewest images, labeled ones included, as far as they have
    candidates; ties are drawn from the key. With true labels as logits this is an oracle, which no
    budget buys: a bound for what balance can give.
    """
    arguments = {key: value for key, value in rule.items() if key != 'name'}
    inner = interface.find(rule['name'])(**arguments)

    def acquire(features, logits, labeled, candidates, budget, key):
        scores.check_passes(logits, 1)
        classes = logits[0].shape[1]
        predicted = np.full(len(candidates), -1)
        for _, chunk in interface.chunks(np.flatnonzero(labeled | candidates)):
            log_p = scores.log_probabilities(logits, chunk)
            predicted[chunk] = np.argmax(scores.mean(log_p), -1)
        has, left = (
            np.bincount(predicted[mask], minlength=classes) for mask in (labeled, candidates)
        )
        quotas = _fill(has, left, budget, np.asarray(jax.random.permutation(key, classes)))
        chosen = [
            inner(
                features,
                logits,
                labeled,
                candidates & (predicted == k),
                quotas[k],
                jax.random.fold_in(key, k),
            )
            for k in np.flatnonzero(quotas)
        ]
        # One of every class, then the second of every class, and so on.
        rank = np.concatenate([np.arange(len(numbers)) for numbers in chosen])
        return np.concatenate(chosen)[np.argsort(rank, kind='stable')]

    return acquire


def _fill(has, left, budget, ties):
    """How many to take of each class, int [K]: always of the class that has the fewest."""
    quotas = np.zeros(len(has), int)
    waiting = [(has[k], ties[k], k) for k in np.flatnonzero(left)]
    heapq.heapify(waiting)
    for _ in range(budget):
        count, tie, k = heapq.heappop(waiting)
        quotas[k] += 1
        if quotas[k] < left[k]:
            heapq.heappush(waiting, (count + 1, tie, k))
    return quotas
