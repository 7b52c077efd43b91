"""Outputs of networks for whole pools of examples, and metrics of the outputs."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from mpl.algorithms import interface as algorithms
from mpl.data.source import Pool
from mpl.models.network import Outputs
from mpl.parallel import sharding
from mpl.run.experiment import Experiment

BINS = 15  # confidence bins of the calibration error


def make_forward(experiment: Experiment) -> Callable[[Any, jax.Array], dict[str, Outputs]]:
    """The compiled forward pass of evaluation and prediction: (state, image) -> outputs."""
    return compile_forward(experiment, partial(algorithms.predict, experiment.algorithm))


def compile_forward(experiment: Experiment, predict: Callable) -> Callable[[Any, jax.Array], Any]:
    """A compiled function of a state and of images [B, H, W, C] of the source.

    With config.average_mirrored the mean of the outputs for each image and its mirror image.

    Args:
      experiment: the run.
      predict: (state, images as the run evaluates them) -> arrays [B, ...].
    """

    def forward(state, image):
        return average(
            lambda image: predict(state, experiment.views.evaluate(image)),
            image,
            experiment.config.average_mirrored,
        )

    return jax.jit(forward, out_shardings=sharding.replicated(experiment.mesh))


def average(predict: Callable[[jax.Array], Any], image: jax.Array, mirrored: bool) -> Any:
    """predict(image), or its mean with that of the mirror images [B, H, W, C]."""
    if not mirrored:
        return predict(image)
    pair = predict(image), predict(image[:, :, ::-1])
    return jax.tree.map(lambda one, other: (one + other) / 2, *pair)


def describe(config: ConfigDict) -> str:
    """What accuracies of a run are of."""
    if config.average_mirrored:
        return 'last checkpoint, outputs averaged over each image and its mirror image'
    return 'last checkpoint'


def outputs(
    experiment: Experiment, forward: Callable, state: Any, pool: Pool, indices: np.ndarray
) -> Any:
    """What `forward` returns for the examples, in the order of the indices, as numpy arrays [N, ...].

    Of `make_forward` by network features [N, D] and logits [N, K].

    The last batch is padded with copies of its first image, whose outputs are
    dropped, so that each example counts once and only one shape is compiled.
    """
    size = experiment.config.batch.evaluate
    parts = []
    for start in range(0, len(indices), size):
        chosen = indices[start : start + size]
        local = pool.read(pad(chosen, size)[sharding.local_rows(experiment.mesh, size)])
        given = jax.make_array_from_process_local_data(
            sharding.rows(experiment.mesh, 0),
            local,
            jax.tree.map(lambda one: (size, *one.shape[1:]), local),
        )
        parts.append(jax.device_get(forward(state, given)))
    return jax.tree.map(lambda *a: np.concatenate(a)[: len(indices)], *parts)


def pad(indices: np.ndarray, size: int) -> np.ndarray:
    """indices [n], n > 0, continued by copies of the first one to [size], so that one shape is compiled."""
    return np.concatenate([indices, np.repeat(indices[:1], size - len(indices))])


def accuracy(logits: np.ndarray, label: np.ndarray) -> float:
    """Fraction of rows of logits [N, K] whose argmax is label [N]."""
    return float(np.mean(np.argmax(logits, -1) == label))


def nll(logits: np.ndarray, label: np.ndarray) -> float:
    """Mean negative log-likelihood of label [N] under logits [N, K], in nats."""
    return float(-np.mean(log_softmax(logits)[np.arange(len(label)), label]))


def calibration_error(logits: np.ndarray, label: np.ndarray) -> float:
    """Expected calibration error over equal bins of confidence (arXiv 1706.04599, eq. 3)."""
    confidence = np.exp(np.max(log_softmax(logits), -1))
    correct = np.argmax(logits, -1) == label
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [abs(np.sum(correct[bins == b]) - np.sum(confidence[bins == b])) for b in range(BINS)]
    return float(np.sum(gaps) / len(label))


def confusion(logits: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Confusion matrix, counts int64 [K, K]: true class by predicted class."""
    classes = logits.shape[-1]
    pairs = label.astype(np.int64) * classes + np.argmax(logits, -1)
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def accuracy_by_class(counts: np.ndarray) -> list[float | None]:
    """The fraction of each true class that is predicted (its recall); None for a class without examples.

    counts: confusion matrix int [K, K].
    """
    return [float(row[k] / row.sum()) if row.sum() else None for k, row in enumerate(counts)]


def result(networks: Iterable[str]) -> str:
    """The network that a run with these is for: the last stage's, else the averaged student, else the first."""
    networks = list(networks)
    return next((n for n in ('finetuned', 'student_ema') if n in networks), networks[0])


def summarize(logits: np.ndarray, label: np.ndarray) -> dict[str, float]:
    """The reported metrics of a network on a part; examples with label -1 are ignored. {} if all are."""
    known = label >= 0
    if not known.any():
        return {}
    logits, label = logits[known], label[known]
    return {
        'accuracy': accuracy(logits, label),
        'nll': nll(logits, label),
        'calibration_error': calibration_error(logits, label),
    }


def summarize_by_class(logits: np.ndarray, label: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """`summarize` with accuracy by class, and the confusion matrix [K, K]; at least one label is not -1."""
    known = label >= 0
    counts = confusion(logits[known], label[known])
    return summarize(logits, label) | {'accuracy_by_class': accuracy_by_class(counts)}, counts


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """Log-softmax of logits [N, K], in float64."""
    logits = logits.astype(np.float64)
    shifted = logits - np.max(logits, -1, keepdims=True)
    return shifted - np.log(np.sum(np.exp(shifted), -1, keepdims=True))
