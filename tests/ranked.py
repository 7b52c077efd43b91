"""Selection as it was written by hand before DuckDB ranked: the reference for its results."""

import numpy as np

from mpl.data import ranking, selection
from mpl.run import prediction_files


def reference(files, candidates, rule, duplicate):
    """The indices to train on, ascending, with repeats, and the counts of selection.summarize."""
    classes, index = files[0].shape[1], np.unique(candidates)
    total, count = np.zeros((len(index), classes)), np.zeros(len(index))
    for logits in files:
        present = ~np.isnan(logits[index]).any(-1)
        rows = logits[index][present].astype(np.float64)
        power = np.exp(rows - rows.max(-1, keepdims=True))
        total[present] += power / power.sum(-1, keepdims=True)
        count += present
    predicted = count > 0
    probability, index = total[predicted] / count[predicted, None], index[predicted]
    label, confidence = probability.argmax(-1), probability.max(-1, initial=0)
    confident = confidence >= rule.confidence
    keep = confident & ~duplicate[index]
    index, label, confidence = index[keep], label[keep], confidence[keep]
    order = np.lexsort((index, -confidence, label))
    _, starts, sizes = np.unique(label[order], return_index=True, return_counts=True)
    rank = np.arange(len(order)) - np.repeat(starts, sizes)
    order = order[rank < rule.per_class] if rule.per_class else order
    index, label = index[order], label[order]
    per_class = np.bincount(label, minlength=classes)
    dropped = {
        'confidence': int((~confident).sum()),
        'duplicates': int((confident & ~keep).sum()),
        'rank': int(keep.sum()) - len(index),
    }
    kept = len(index)
    if rule.balance:
        by_class = [np.resize(index[label == k], rule.per_class) for k in np.unique(label)]
        index = np.concatenate([index[:0], *by_class])
    return np.sort(index), {
        'candidates': len(predicted),
        'without_logits': int((~predicted).sum()),
        'kept': kept,
        'drawn': len(index),
        'kept_per_class': {
            'min': per_class.min(), 'median': np.median(per_class), 'max': per_class.max()
        },
        'dropped': dropped,
    }  # fmt: skip


def ranked(files, candidates, rule, duplicate, folder, shards=1, rows=None):
    """The same by the code of mpl.select, through one Parquet file a shard."""
    is_candidate = np.isin(np.arange(len(files[0])), candidates)
    paths = []
    for shard in range(shards):
        tables = selection.score(files, is_candidate, duplicate, (shard, shards), rows)
        paths.append(f'{folder}/{shard}.parquet')
        with open(paths[-1], 'wb') as file:
            prediction_files.write(file, selection.WITH_DUPLICATES, tables, {})
    found = ranking.rank(paths, rule, is_candidate, None, files[0].shape[1], str(folder))
    return found, selection.summarize(found, int(is_candidate.sum()))
