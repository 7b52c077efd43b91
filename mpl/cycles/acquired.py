"""The images acquired for a cycle: chosen once, written when whole, never chosen again."""

import time

import jax
import numpy as np

from mpl.acquisition import interface
from mpl.cycles import scoring
from mpl.cycles.study import Study
from mpl.data import splits, stream
from mpl.data.splits import Split
from mpl.run import config as configs
from mpl.run import folders, records

FILE = 'acquired.json'
SKIPPED = 'skipped'  # images of no class that is learned


def acquire(study: Study, cycle: int, before: Split | None) -> dict:
    """The record of the images for a cycle, from its file or by choosing them.

    Args:
      study: that the cycle is in.
      cycle: from 0 up.
      before: the split of the cycle before, which is finished; None for cycle 0.

    Returns:
      numbers: the images in the order of choice. classes: how many of each class, None where
      people are asked. seconds: of predicting and choosing.

    Raises:
      ValueError: no candidates are left, the inputs are not finite, or the file is of another
        rule or another split.
    """
    path, made_by = study.folder(cycle) / FILE, _made_by(study, cycle, before)
    if path.exists():
        record = records.read(path, 'a record of acquired images', 'delete the study')
        if lines := configs.differences(record['made_by'], made_by):
            raise ValueError(
                f'{path} was made otherwise ({"; ".join(lines)}); give another --workdir, or delete '
                f'the folders of the cycles from {cycle} on.'
            )
        return record
    started = time.monotonic()
    numbers, inputs = _choose(study, cycle, before)
    record = {
        'cycle': cycle,
        'numbers': numbers.tolist(),
        'classes': None if study.asks else count_classes(study, numbers),
        'made_by': made_by,
        'inputs': inputs,
        'seconds': time.monotonic() - started,
    }
    records.write(path, record)
    return record


def candidates(study: Study, before: Split | None) -> np.ndarray:
    """The images that may be chosen: unlabeled and not labeled, so never held out; int64."""
    if before is None:
        return study.candidates
    return np.setdiff1d(before.unlabeled, before.labeled)


def count_classes(study: Study, numbers: np.ndarray) -> dict[str, int]:
    """How many of these images are of each class, and SKIPPED of none; by the source's labels."""
    label, classes = study.source.train.label[numbers], study.source.classes
    counts = {name: int(np.sum(label == k)) for k, name in enumerate(classes)}
    skipped = int(np.sum(label < 0))
    return counts | ({SKIPPED: skipped} if skipped else {})


def _choose(study, cycle, before):
    """The numbers, and the record of the inputs of the rule; None for a uniform draw."""
    active, seed = study.config.active, study.config.seed
    possible = candidates(study, before)
    budget = active.start if before is None else active.budget
    if not budget or before is None and active.start_from == 'random':
        return splits.uniform(possible, budget, 0, seed)[0], None
    inputs = scoring.of_start(study) if before is None else scoring.of_cycle(study, cycle - 1)
    examples = len(study.source.train.label)
    labeled, is_candidate = np.zeros(examples, bool), np.zeros(examples, bool)
    labeled[study.labeled if before is None else before.labeled] = True
    is_candidate[possible] = True
    key = stream.derive(jax.random.key(seed), cycle, 'acquire')
    rule = configs.build('acquisition', active.rule.to_dict())
    numbers = interface.choose(
        rule, inputs.features, inputs.logits, labeled, is_candidate, budget, key
    )
    return numbers, inputs.made_by


def _made_by(study, cycle, before):
    """What an acquisition depends on, JSON-serializable; a uniform draw does not depend on the rule."""
    active = study.config.active.to_dict()
    ruled = ('rule', 'logits', 'passes')
    if before is not None:
        config = configs.read(study.folder(cycle - 1) / 'config.json')
        made = {'split': before.hash, 'config': folders.checksum(config)}
        kept = ('budget', *ruled)
    else:
        made = {'split': None, 'config': None}
        kept = ('start', 'start_from', *(() if active['start_from'] == 'random' else ruled))
    return made | {key: active[key] for key in kept} | {'seed': study.config.seed}
