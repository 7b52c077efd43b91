"""Whether networks have given up classes, or the loss all unlabeled images: told from a run's metrics."""

from typing import Any, NamedTuple

import numpy as np

LOST = 0.1  # of its share among the labeled examples: a class with less is lost
PART = 0.25  # of the labeled examples: classes that hold so much may not all be lost
EXPECTED = 20  # images of a class, from which on it is judged


class Finding(NamedTuple):
    """Something that went wrong in a run, found at an evaluation."""

    kind: str  # 'classes' or 'mask'
    step: int
    sentence: str


def lost_classes(histogram: np.ndarray, labeled: np.ndarray) -> np.ndarray:
    """Which classes a network no longer sees in unlabeled images, bool [K].

    A class is lost if its share of the images is under a tenth of its share among the
    labeled examples. Where those are balanced and labels right, none is lost in any set whose
    classes differ up to tenfold: the rarest of K has at least 1 / 10 K. Classes that would
    have fewer than 20 images by their share are not judged, since they may be empty by chance.

    Args:
      histogram: images by the network's label, counts [K].
      labeled: labeled examples by class, counts [K].
    """
    expected = np.sum(histogram) * np.asarray(labeled) / np.sum(labeled)
    return (expected >= EXPECTED) & (np.asarray(histogram) < LOST * expected)


def is_collapsed(histogram: np.ndarray, labeled: np.ndarray) -> bool:
    """Whether lost classes hold a quarter of the labeled examples, or one class has all images.

    One class alone is not enough: two that look alike may be taken for one in a run that is
    fine otherwise. A class has all images if the others, taken together, are lost; this is
    judged with many classes and few images too. A class that swallows half of the images and
    empties none is not told from one that is so frequent.

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
    """exp of the entropy of counts [K]: K where they are equal, 1 where one has all."""
    share = np.asarray(counts) / np.sum(counts)
    share = share[share > 0]
    return float(np.exp(-np.sum(share * np.log(share))))


def find(lines: list[dict[str, Any]], labeled: np.ndarray, steps: int) -> list[Finding]:
    """What a run is to be warned of, each kind once, the first time.

    Collapse counts at two evaluations in a row, or after the last step: a network that has
    hardly begun, or an average that lags behind it, is not yet worth a warning. A mask that
    lets nothing pass counts over the log windows after the first evaluation.

    Args:
      lines: of metrics.jsonl, so that a run that is resumed finds the same.
      labeled: labeled examples by class, counts [K].
      steps: of the whole run.
    """
    found, before, evaluated = {}, set(), False
    for line in lines:
        if evaluated and 'mask_rate' in line and line['mask_rate'] == 0:
            found.setdefault('mask', Finding('mask', line['step'], _say_mask(line['step'])))
        histograms = {
            name.split('/')[1]: np.array(counts)
            for name, counts in line.items()
            if name.startswith('unlabeled/') and name.endswith('/histogram')
        }
        if histograms:
            evaluated = True
            now = {name for name, counts in histograms.items() if is_collapsed(counts, labeled)}
            sure = now if line['step'] == steps else now & before
            if sure:
                told = _say_classes(
                    line['step'], {name: histograms[name] for name in sure}, labeled
                )
                found.setdefault('classes', Finding('classes', line['step'], told))
            before = now
    return list(found.values())


def _say_classes(step, histograms, labeled):
    told = []
    for name, counts in sorted(histograms.items()):
        share = np.max(counts) / np.sum(counts)
        few = np.sum(counts < LOST * np.sum(counts) * labeled / np.sum(labeled))
        told.append(
            f'{name} ({100 * share:.0f} % are one class; {few} of {len(counts)} classes have under '
            f'{100 * LOST:.0f} % of their share)'
        )
    return (
        f'step {step}: the labels of unlabeled images collapse: {", ".join(told)}. Try a lower '
        'weight of the unlabeled loss, a later or longer ramp, a higher threshold, more steps; or '
        'these classes are that rare.'
    )


def _say_mask(step):
    return (
        f'step {step}: no unlabeled image has counted since the last log line (mask_rate 0): this is '
        'training on labels only. Try a lower threshold.'
    )
