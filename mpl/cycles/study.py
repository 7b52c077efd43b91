"""A study: one config with active learning, its pool, and the folder of its cycles."""

from typing import NamedTuple

import numpy as np
from etils import epath
from ml_collections import ConfigDict

from mpl.acquisition import interface
from mpl.data import open_set, splits
from mpl.data.source import Source
from mpl.run import checkpoint, checks, folders, identity, random_passes, records
from mpl.run import config as configs
from mpl.run import experiment as experiments
from mpl.run.experiment import Experiment

FILE = 'study.json'
STARTS = ('random', 'pixels', 'init_from')
LOGITS = ('network', *random_passes.MAKES, 'labels')


class Study(NamedTuple):
    """The parts of a study that do not change from cycle to cycle."""

    config: ConfigDict
    workdir: epath.Path
    source: Source  # without the labels of classes in split.unlabeled_only
    known: np.ndarray  # bool [N], the images whose class is in the source, learned or not
    labeled: np.ndarray  # int64, the images with labels before the first choice
    validation: np.ndarray  # int64, the held-out images of the pool
    candidates: np.ndarray  # int64, the images that the first ones are chosen from
    asks: bool  # whether labels come from people; else from the source

    def folder(self, cycle: int) -> epath.Path:
        return self.workdir / f'cycle_{cycle}'


def make(config: ConfigDict, workdir: epath.Path) -> Study:
    """Reads the data of a study and draws its first pool; writes nothing.

    Labels come from people if the source lacks some. Then the images that have one are the first
    labeled ones, and validation images are drawn from them.

    Raises:
      ValueError: the config is refused, or the pool has too few images.
    """
    _check(config)
    raw = configs.build('data', config.source)
    source = open_set.hide(raw, config.split.unlabeled_only)
    known, label = raw.train.label >= 0, source.train.label
    pool = _pool(config, source)
    asks = not known[pool].all()
    labeled = pool[label[pool] >= 0] if asks else pool[:0]
    held = config.split.validation
    if held and source.validation is not None:
        raise ValueError(
            f'split.validation is {held}, but the source has a validation part of its own; set it '
            'to 0.'
        )
    measured = held or source.validation is not None
    if config.active.patience and not (measured and experiments.has_head(config)):
        raise ValueError(
            f'active.patience is {config.active.patience}, but no accuracy on validation is '
            'measured that could rise; give split.validation and batch.labeled, or set it to 0.'
        )
    if asks and held > len(labeled):
        raise ValueError(
            f'split.validation is {held}, but {len(labeled)} images of the pool have labels; lower '
            'it, or add a validation part to the source.'
        )
    _, validation = splits.uniform(labeled if asks else pool, 0, held, config.seed)
    labeled, candidates = (
        np.setdiff1d(part, np.concatenate([validation, taken]))
        for part, taken in ((labeled, pool[:0]), (pool, labeled))
    )
    study = Study(config, workdir, source, known, labeled, np.sort(validation), candidates, asks)
    _check_budget(study)
    return study


def prepare(study: Study) -> None:
    """Checks the folder of a study, or makes it.

    Raises:
      ValueError: it holds another study, or something else.
    """
    workdir, config = study.workdir, study.config
    checkpoint.check_folder(workdir)
    data = identity.index_record(identity.make(study.source))
    if study.asks:  # Labels come in from outside.
        data['parts']['train'] = data['parts']['train'] | {'labels': ''}
    record = {'config': config.to_dict(), 'data': data}
    if (workdir / FILE).exists():
        found = records.read(workdir / FILE, 'the record of a study', 'give another --workdir')
        found['config'] = configs.complete(found['config']).to_dict()
        old, new = (folders.without_paths(one['config']) for one in (found, record))
        if lines := configs.differences(old, new):
            raise ValueError(
                f'{workdir} holds a study of another config ({"; ".join(lines)}); give another '
                '--workdir, or the config of that study.'
            )
        if lines := identity.differences(found['data'], data):
            raise ValueError(
                f'{workdir} holds a study of another pool ({"; ".join(lines)}); restore the data, '
                'or give another --workdir.'
            )
        return
    if workdir.exists() and (not workdir.is_dir() or any(_foreign(workdir))):
        raise ValueError(f'{workdir} is not empty and holds no study; give another --workdir.')
    workdir.mkdir(parents=True, exist_ok=True)
    records.write(workdir / FILE, record)


def cycle_config(study: Study, cycle: int, labels: str = '') -> ConfigDict:
    """The config of the run of a cycle.

    Args:
      study: that the cycle is in.
      cycle: from 0 up.
      labels: the file of labels that the run is trained with; '' for those of the source.
    """
    config = study.config
    given = config.to_dict() | {'active': {}}
    given['split'] = split_section(config, study.folder(cycle) / 'split.json')
    if labels:
        given['source'] |= {'labels': labels}
    if is_pretrained_once(config):
        given['init_from'] |= {'config': {}, 'workdir': str(pretrained(study))}
    if cycle and config.active.warm_start:
        given['init_from'] = {'workdir': str(study.folder(cycle - 1)), 'network': 'student'}
    return configs.complete(given)


def split_section(config: ConfigDict, file: epath.Path) -> dict:
    """The section `split` of a run of the study, whose indices are in a file."""
    own = {'file': str(file), 'labels': 0, 'validation': 0, 'imbalance': 1.0, 'rare': ()}
    return config.split.to_dict() | own


def is_pretrained_once(config: ConfigDict) -> bool:
    """Whether init_from.config learns from no label: it is then trained once, for all cycles.

    One that learns from labels is trained again by each cycle, from the labels of that cycle.
    """
    stage = config.init_from.config
    return bool(stage) and not stage.batch.labeled


def pretrained(study: Study) -> epath.Path:
    """The folder of the pre-training of all cycles."""
    return study.workdir / 'pretrain'


def assemble(study: Study) -> Experiment:
    """The run of cycle 0 before it has labels, to check the config and to compute features."""
    some = study.labeled if len(study.labeled) else study.candidates[:1]
    split = splits.from_indices(some, study.candidates, study.validation)
    return experiments.assemble(cycle_config(study, 0), source=study.source, split=split)


def _foreign(workdir):
    """Entries that a killed start of a study does not leave."""
    return (path for path in workdir.iterdir() if path.name != f'{FILE}.tmp')


def _pool(config, source):
    """The images of training, validation included, int64 ascending."""
    if config.split.imbalance == 1 and not config.split.rare:
        return np.arange(len(source.train.label))
    drawn = splits.draw(
        source.train.label, seed=config.seed, classes=source.classes,
        imbalance=config.split.imbalance, rare=config.split.rare,
    )  # fmt: skip
    return np.union1d(drawn.labeled, drawn.unlabeled)


def _check(config):
    active, split = config.active, config.split
    if not active.rule:
        raise ValueError(
            'The config has no active.rule; give --config.active.rule.name=margin, or another file '
            'of mpl/acquisition/.'
        )
    for key, allowed in (('start_from', STARTS), ('logits', LOGITS)):
        if active[key] not in allowed:
            raise ValueError(
                f'active.{key} is {active[key]!r}; give one of {", ".join(map(repr, allowed))}.'
            )
    numbers = dict(start=0, budget=1, cycles=0, passes=1, patience=0, minimum=0)
    for key, least in numbers.items():
        if active[key] < least:
            raise ValueError(f'active.{key} is {active[key]}; give {least} or more.')
    if active.passes > 1 and active.logits not in random_passes.MAKES:
        raise ValueError(
            f'active.passes is {active.passes}, but active.logits is {active.logits!r}, one pass; set '
            "it to 'views', 'dropout' or 'projections'."
        )
    interface.check_needs(active.rule.to_dict(), active.logits, active.passes)
    if active.logits == 'projections' and 'projector' not in config.networks:
        raise ValueError(
            f"active.logits is 'projections', but {config.algorithm.name!r} has no projector; train with a "
            "contrastive rule, such as 'mobyv2al', or give another active.logits."
        )
    if active.logits == 'dropout' and not _has_dropout(config.networks.student.model):
        raise ValueError(
            "active.logits is 'dropout', but the student has none, so all passes would be equal; give a "
            'networks.student.model.dropout above 0.'
        )
    if split.labels or split.file:
        raise ValueError(
            f'split.labels is {split.labels} and split.file {split.file!r}, but the labeled images '
            "are chosen by active.rule; set them to 0 and ''."
        )
    start = config.init_from
    if active.start_from == 'init_from' and not (
        start.workdir or start.file or start.hub or is_pretrained_once(config)
    ):
        raise ValueError(
            "active.start_from is 'init_from', but init_from has no weights before the first label; "
            'give init_from.workdir, init_from.file, init_from.hub or an init_from.config whose '
            'batch.labeled is 0.'
        )
    checks.check_seed(config.seed)
    if active.warm_start and active.cycles and 'student' not in config.networks:
        raise ValueError('active.warm_start starts from the student, but there is no such network.')


def _has_dropout(model):
    """Whether a model, or one that it contains, has dropout."""
    own = any(model[key] > 0 for key in ('dropout', 'hidden_dropout') if key in model)
    return own or any(_has_dropout(part) for part in model.values() if isinstance(part, ConfigDict))


def _check_budget(study):
    active = study.config.active
    needed, left = active.start + active.budget * active.cycles, len(study.candidates)
    if needed > left:
        raise ValueError(
            f'active.start {active.start:,} and {active.cycles} cycles of {active.budget:,} make '
            f'{needed:,} images, but the pool has {left:,} candidates; lower one of them.'
        )
    if not len(study.labeled) and not active.start:
        raise ValueError(
            'active.start is 0, and no image has a label yet; give the number of images to label '
            'before the first training.'
        )
