"""An open set: unlabeled images of classes that the network is not trained to predict."""

from collections.abc import Sequence

import numpy as np

from mpl.data import class_counts, source


def hide(of: source.Source, names: Sequence[str]) -> source.Source:
    """The source without these classes; their training images stay, without a label.

    Their images are dropped from validation and test. The remaining classes are renumbered in
    order.

    Raises ValueError for a name that is not a class, or if fewer than two classes remain.
    """
    if not names:
        return of
    class_counts.check_classes('split.unlabeled_only', names, of.classes)
    stays = np.array([name not in names for name in of.classes])
    if stays.sum() < 2:
        raise ValueError(
            f'split.unlabeled_only leaves {stays.sum()} of {len(stays)} classes; leave at least 2.'
        )
    # New label by old label; the last entry is for -1.
    label = np.append(np.where(stays, np.cumsum(stays) - 1, -1), -1).astype(np.int32)
    kept = np.append(stays, True)

    def without(pool: source.Pool | None) -> source.Pool | None:
        if pool is None:
            return None
        left = source.take(pool, np.flatnonzero(kept[pool.label]))
        return left._replace(label=label[left.label])

    return of._replace(
        train=of.train._replace(label=label[of.train.label]),
        validation=without(of.validation),
        test=without(of.test),
        classes=tuple(name for name, stay in zip(of.classes, stays) if stay),
    )
