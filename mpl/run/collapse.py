"""Detects collapse of pseudo-labels and of embeddings, and masks that drop all unlabeled images, from metrics."""

from typing import Any, NamedTuple

import numpy as np

from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

LOST = 0.1  # a class is lost below this fraction of its share among the labeled examples
PART = 0.25  # collapse: the lost classes have at least this share of the labeled examples
PATIENCE = 5  # log windows in a row
SPREAD, RANK = 0.4, 2.0  # embeddings have collapsed below one of them, see contrast.measure
EXPECTED = 20  # minimum expected images of a class that is tested


class Finding(NamedTuple):
    """A problem of a run, found at an evaluation."""

    kind: str  # 'classes', 'embeddings' or 'mask'
    step: int
    sentence: str


def lost_classes(histogram: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """Which classes a network hardly predicts any more on unlabeled images, bool [K].

    A class is lost if its share of the predictions is below a tenth of its share among the
    labeled examples. If those are balanced and the predictions correct, no class is lost in any
    set whose class frequencies differ by up to a factor of ten: the rarest of K has at least
    1 / 10 K. Classes with fewer than 20 expected images are not tested: they may be empty by chance.

    Args:
      histogram: images by predicted class, counts [K].
      labeled: labeled examples by class, counts [K].
    """
    expected = np.sum(histogram) * np.asarray(labeled) / np.sum(labeled)
    return (expected >= EXPECTED) & (np.asarray(histogram) < LOST * expected)


def is_collapsed(histogram: np.ndarray, labeled: np.ndarray) -> bool:
    """Whether lost classes have a quarter of the labeled examples, or one class has all images.

    One lost class alone is not enough: two similar classes may be merged in a run that is
    fine otherwise. One class has all images if all others, taken together, are lost; this also
    applies with many classes and few images. A class with half of the predictions and no lost
    class cannot be distinguished from one that is that frequent.

    Args: as of `lost`.
    """
    share = np.asarray(labeled) / np.sum(labeled)
    first = np.argmax(histogram)
    others = np.array([histogram[first], np.sum(histogram) - histogram[first]])
    return bool(
        np.sum(share[lost_classes(histogram, labeled)]) >= PART
        or lost_classes(others, np.array([share[first], 1 - share[first]]))[1]
    )


def effective_classes(counts: np.ndarray) -> float:
    """exp of the entropy of counts [K]: K for equal counts, 1 if one class has all."""
    share = np.asarray(counts) / np.sum(counts)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def of_run(experiment: Experiment, lines: list[dict[str, Any]]) -> list[Finding]:
    """The warnings of a run, from the lines of its metrics.jsonl; see `find`.

    Predictions for unlabeled images are no targets where heads on features are trained: such a rule compares
    embeddings or solves a pretext task, and its classifier is trained by labels alone.
    """
    return find(
        lines,
        experiments.labeled_counts(experiment),
        experiment.config.steps,
        predictions=not experiment.algorithm.heads(experiment.state),
    )


def find(
    lines: list[dict[str, Any]], labeled: np.ndarray, steps: int, predictions: bool = True
) -> list[Finding]:
    """The warnings of a run: the first occurrence of each kind.

    Collapse is reported after two evaluations in a row, or after the last step: early in
    training a network, or its lagging average, may predict few classes. A mask rate of 0 is
    reported for log windows after the first evaluation. Embeddings have collapsed if their spread or
    their rank is low in PATIENCE log windows in a row, or in the last one: a probe still reads such
    features for a while, so accuracy is no early sign.

    Args:
      lines: of metrics.jsonl, so that a resumed run finds the same warnings.
      labeled: labeled examples by class, counts [K].
      steps: of the whole run.
      predictions: whether those for unlabeled images may be targets of the training;
        those of a classifier beside it may be of few classes for long, and harm nothing.
    """
    found, before, evaluated, low = {}, set(), False, 0
    for line in lines:
        if 'embedding/spread' in line:
            low = (
                low + 1 if line['embedding/spread'] < SPREAD or line['embedding/rank'] < RANK else 0
            )
            if low >= PATIENCE or low and line['step'] == steps:
                sentence = _describe_embeddings(line)
                found.setdefault('embeddings', Finding('embeddings', line['step'], sentence))
        if evaluated and 'mask_rate' in line and line['mask_rate'] == 0:
            found.setdefault('mask', Finding('mask', line['step'], _describe_mask(line['step'])))
        histograms = {
            name.split('/')[1]: np.array(counts)
            for name, counts in line.items()
            if name.startswith('unlabeled/') and name.endswith('/histogram')
        }
        if histograms and predictions:
            evaluated = True
            now = {name for name, counts in histograms.items() if is_collapsed(counts, labeled)}
            confirmed = now if line['step'] == steps else now & before
            if confirmed:
                sentence = _describe_classes(
                    line['step'], {name: histograms[name] for name in confirmed}, labeled
                )
                found.setdefault('classes', Finding('classes', line['step'], sentence))
            before = now
    return list(found.values())


def _describe_classes(step, histograms, labeled):
    networks = []
    for name, counts in sorted(histograms.items()):
        share = np.max(counts) / np.sum(counts)
        few = np.sum(counts < LOST * np.sum(counts) * labeled / np.sum(labeled))
        networks.append(
            f'{name} ({100 * share:.0f} % are one class; {few} of {len(counts)} classes have under '
            f'{100 * LOST:.0f} % of their share)'
        )
    return (
        f'step {step}: the labels of unlabeled images collapse: {", ".join(networks)}. Try a lower '
        'weight of the unlabeled loss, a later or longer ramp, a higher threshold, more steps; or '
        'these classes are that rare.'
    )


def _describe_embeddings(line):
    return (
        f'step {line["step"]}: the embeddings collapse: spread {line["embedding/spread"]:.2f} (1 if they point '
        f'everywhere alike), effective rank {line["embedding/rank"]:.1f}, mean cosine of different images '
        f'{line["embedding/negative"]:.2f}. Try a lower learning rate, larger batches, stronger views, or '
        "an affine-free last norm of the projector (last_norm='plain')."
    )


def _describe_mask(step):
    return (
        f'step {step}: no unlabeled image has passed the mask since the last log line (mask_rate 0): the '
        'run trains on labels only. Try a lower threshold.'
    )
