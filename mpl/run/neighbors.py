"""Weighted nearest-neighbor classification of features (arXiv 1805.01978, section 3.4)."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from mpl.data import stream
from mpl.run import checks, measure
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

SIMILARITIES = 2**26  # maximum number that is held at a time


def find(bank: np.ndarray, query: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest features of the bank by cosine similarity, exactly.

    Products are of full float32 precision on every device. Features of norm 0 have similarity 0.

    Args:
      bank: float32 [N, D].
      query: float32 [Q, D].
      count: of neighbors, at most N.

    Returns:
      Similarities, float32 [Q, count], descending, and indices into the bank, int32 [Q, count].
    """
    size = max(1, min(len(query), SIMILARITIES // len(bank)))
    bank, found = _normalize(jnp.asarray(bank)), []
    for start in range(0, len(query), size):
        chunk = query[start : start + size]
        padded = np.concatenate([chunk, np.zeros((size - len(chunk), chunk.shape[1]), chunk.dtype)])
        similarity, index = jax.device_get(_nearest(bank, padded, count))
        found.append((similarity[: len(chunk)], index[: len(chunk)]))
    return tuple(np.concatenate(arrays) for arrays in zip(*found))


def vote(similarity: np.ndarray, label: np.ndarray, classes: int, temperature: float) -> np.ndarray:
    """Weights by class: of each neighbor exp(similarity / temperature), up to a factor of the row.

    Args:
      similarity: float32 [Q, k], descending.
      label: of the neighbors, int [Q, k].
      classes: K.
      temperature: of the weights.

    Returns:
      float64 [Q, K].
    """
    weight = np.exp((similarity - similarity[:, :1]).astype(np.float64) / temperature)
    scores = np.zeros((len(label), classes))
    np.add.at(scores, (np.arange(len(label))[:, None], label), weight)
    return scores


def evaluate(experiment: Experiment, forward: Callable, state: Any) -> dict[str, float]:
    """Accuracy of each network's neighbors on validation, as config.probe says; names of metrics.

    Args:
      experiment: the run.
      forward: measure.make_forward of it.
      state: of the run.
    """
    probe, source = experiment.config.probe, experiment.source
    bank = checks.find_labels(source, experiment.split, probe.labels)
    if len(bank) > probe.bank:
        bank = stream.sample(experiment.config.seed, 'probe', 0, probe.bank, bank)
    label = source.train.label[bank]
    pool, indices = experiments.validation(experiment)
    indices = indices[pool.label[indices] >= 0]
    known = measure.outputs(experiment, forward, state, source.train, bank)
    accuracies = {}
    for name, outputs in measure.outputs(experiment, forward, state, pool, indices).items():
        similarity, index = find(known[name].features, outputs.features, probe.neighbors)
        scores = vote(similarity, label[index], len(source.classes), probe.temperature)
        accuracy = measure.accuracy(scores, pool.label[indices])
        accuracies[f'validation/{name}/neighbors_accuracy'] = accuracy
    return accuracies


def _normalize(features):
    norm = jnp.linalg.norm(features, axis=-1, keepdims=True)
    return features / jnp.where(norm > 0, norm, 1)


@jax.jit(static_argnames='count')
def _nearest(bank, query, count):
    product = jnp.matmul(_normalize(query), bank.T, precision=jax.lax.Precision.HIGHEST)
    return jax.lax.top_k(product, count)
