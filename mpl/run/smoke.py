"""Shrinks any recipe, so that all its stages run in seconds without its data."""

from typing import Any

from ml_collections import ConfigDict

from mpl.data import synthetic
from mpl.run import config as configs

STEPS = 6
BATCH = 8
SIZE = 16  # pixels
# Arguments of a small network of each model; other models stay as they are.
MODELS = {
    'wide_resnet': dict(depth=10, width=1),
    'resnet': dict(depth=18),
    'efficientnet': dict(variant='b0', width=0.25, depth=0.1),
    'vit': dict(size='Ti', patch=4),
    'convnext': dict(size='atto', patch=2),
}


def shrink(config: ConfigDict) -> ConfigDict:
    """The config with few steps, small batches, networks and images.

    Numbers of steps are scaled with the length of the run, to at least 1 unless they are 0. The
    algorithm, optimizer, views, precision and fine-tuning stay. The config of a teacher is shrunk
    too. Folders and prepared sets are replaced by a synthetic set of two classes with the same
    number of channels.
    """
    small = config.to_dict()
    if 'path' in small['source'] or 'dataset' in small['source']:
        small['source'] = synthetic.arguments_for(small['source']) | dict(
            name='synthetic', classes=2, size=SIZE, examples=64, unlabeled=32, test_examples=32
        )
        small['split'] |= dict(
            labels=min(small['split']['labels'], 16),
            validation=min(small['split']['validation'], 16),
            file='',
            unlabeled_only=(),
        )
    for key, size in {'size': SIZE, 'small_size': SIZE // 2}.items():
        if key in small['views'] and small['views'][key]:
            small['views'][key] = size
    for network in small['networks'].values():
        network['model'] = _shrink_model(network['model'])
        network['optimizer'] = _shorten(network['optimizer'], config.steps)
    small['algorithm'] = _shorten(small['algorithm'], config.steps)
    if 'queue' in small['algorithm']:
        small['algorithm']['queue'] = 2 * BATCH
    small['init_from'] |= dict(workdir='', file='', hub='')
    if config.init_from.config:
        small['init_from']['config'] = shrink(config.init_from.config).to_dict()
    if config.teacher.config:
        small['teacher']['config'] = shrink(config.teacher.config).to_dict()
        small['teacher']['per_class'] = min(config.teacher.per_class, BATCH)
    tuned = small['finetune']
    if tuned['steps']:
        tuned['optimizer'] = _shorten(tuned['optimizer'], tuned['steps'])
        tuned |= dict(steps=STEPS, labeled=BATCH)
    return configs.complete(
        small
        | dict(
            steps=STEPS,
            batch=dict(
                labeled=BATCH if config.batch.labeled else 0,
                unlabeled=2 * BATCH if config.batch.unlabeled else 0,
                evaluate=32,
            ),
            every=dict(log=2, evaluate=STEPS, save=STEPS),
            probe=small['probe'] | dict(every=STEPS if config.probe.every else 0, neighbors=1),
            steps_per_call=2,
        )
    )


def _shrink_model(model: dict[str, Any]) -> dict[str, Any]:
    """A small network of the same model; of a model with a trunk, that is shrunk too."""
    small = model | MODELS.get(model['name'], {})
    return small | {'trunk': _shrink_model(model['trunk'])} if 'trunk' in model else small


def _shorten(section: dict[str, Any], steps: int) -> dict[str, Any]:
    """The section with its numbers of steps scaled from a run of `steps` to one of STEPS."""
    return {
        key: max(1, value * STEPS // steps) if key.endswith('_steps') and value else value
        for key, value in section.items()
    }
