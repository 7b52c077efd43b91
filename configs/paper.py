"""The hyperparameters of the Meta Pseudo Labels paper (arXiv 2003.10580v4, appendix C.4) for three data sets.

Recalled, not verified: the appendix was not available. The hyperparameters of MPL for CIFAR-10, except
the temperature, are also in the configs of ricoshin/meta-pseudo-labels-pytorch, written from version 1;
batch, steps and warm-up of UDA for ImageNet are also in facebookresearch/suncet#28. SUPERVISED is the
least certain. Values that are not in the tables are those of the released code: threshold, average of
the weights, momentum, views. The tables have one batch size, so unlabeled batches have it too.
"""

from . import recipes

COLUMNS = ('cifar10', 'svhn', 'imagenet')
MPL = dict(
    steps=(1_000_000, 1_000_000, 500_000),
    batch=(128, 128, 2048),
    warmup_steps=(2_000, 2_000, 1_000),
    weight_decay=(5e-4, 5e-4, 2e-4),
    label_smoothing=(0.1, 0.1, 0.1),
    student_rate=(0.3, 0.15, 0.8),
    student_dropout=(0.35, 0.45, 0.1),
    teacher_rate=(0.125, 0.05, 0.5),
    teacher_dropout=(0.5, 0.65, 0.1),
    uda_weight=(1.0, 2.5, 16.0),
    uda_temperature=(0.8, 1.25, 0.75),
)
UDA = dict(
    steps=(1_000_000, 1_000_000, 500_000),
    batch=(128, 128, 2048),
    warmup_steps=(5_000, 5_000, 5_000),
    weight_decay=(5e-4, 5e-4, 2e-4),
    label_smoothing=(0.0, 0.0, 0.1),
    student_rate=(0.3, 0.4, 1.28),
    student_dropout=(0.5, 0.6, 0.25),
    uda_weight=(2.5, 1.0, 20.0),
    uda_temperature=(0.7, 0.8, 0.7),
)
SUPERVISED = dict(  # And pseudo-labels, which have the threshold.
    steps=(50_000, 50_000, 40_000),
    batch=(1024, 128, 2048),
    warmup_steps=(2_500, 0, 2_000),
    weight_decay=(5e-4, 1e-3, 2e-4),
    label_smoothing=(0.0, 0.0, 0.1),
    student_rate=(0.4, 0.05, 1.28),
    student_dropout=(0.4, 0.5, 0.2),
    threshold=(0.95, 0.975, 0.7),
)
# Of the released code, see there.
UDA_THRESHOLD = 0.6
EMA_DECAY = (0.995, 0.995, 0.999)

# The last stage. Section 3.2 names SGD, the rate, the batch and the steps.
FINETUNE = dict(
    steps=1_000,
    network='student_ema',
    labeled=512,
    optimizer=dict(name='sgd', learning_rate=1e-5, schedule='constant', momentum=0.0),
)

LONG_FINETUNE = FINETUNE | dict(  # Section 3.3, with unlabeled images of another data set.
    steps=10_000, optimizer=FINETUNE['optimizer'] | dict(learning_rate=1e-4)
)


def mpl(data: dict, column: str, finetune: dict = FINETUNE, **changed):
    """Meta Pseudo Labels as in the paper: sampled labels, and a cosine as their feedback.

    Args:
      data: as in recipes.config.
      column: of the tables.
      finetune: the last stage.
      **changed: arguments of recipes.config that are not the table's.
    """
    hyperparameters = _column(MPL, column)
    algorithm = dict(
        name='mpl',
        feedback='cosine',
        labels='sampled',
        uda_weight=hyperparameters['uda_weight'],
        uda_temperature=hyperparameters['uda_temperature'],
        uda_threshold=UDA_THRESHOLD,
        target_pass='joined',
    )
    more = dict(unlabeled=hyperparameters['batch'], finetune=finetune) | changed
    return _config(data, hyperparameters, algorithm, ('teacher', 'student'), more)


def uda(data: dict, column: str, **changed):
    """Unsupervised Data Augmentation, the paper's own baseline; arguments as those of `mpl`."""
    hyperparameters = _column(UDA, column)
    algorithm = dict(
        name='uda',
        weight=hyperparameters['uda_weight'],
        temperature=hyperparameters['uda_temperature'],
        threshold=UDA_THRESHOLD,
        mask_sharpened=True,
        target_pass='joined',
    )
    return _config(
        data,
        hyperparameters,
        algorithm,
        ('student',),
        dict(unlabeled=hyperparameters['batch']) | changed,
    )


def supervised(data: dict, column: str, view: recipes.View = 'weak'):
    """Labels only, on this view of the labeled images; other arguments as those of `mpl`."""
    config = _config(data, _column(SUPERVISED, column), dict(name='supervised'), ('student',), {})
    config.views.labeled = view
    return config


def pseudo_label(data: dict, column: str):
    """Confident predictions as labels; arguments as those of `mpl`."""
    hyperparameters = _column(SUPERVISED, column)
    algorithm = dict(name='pseudo_label', threshold=hyperparameters['threshold'])
    return _config(
        data, hyperparameters, algorithm, ('student',), dict(unlabeled=hyperparameters['batch'])
    )


def _column(table, column):
    place = COLUMNS.index(column)
    return {key: row[place] for key, row in table.items()} | {'ema_decay': EMA_DECAY[place]}


def _config(data, hyperparameters, algorithm, roles, more):
    common = {key: hyperparameters[key] for key in ('label_smoothing', 'ema_decay')}
    optimizers = {
        role: dict(
            name='sgd',
            learning_rate=hyperparameters[f'{role}_rate'],
            warmup_steps=hyperparameters['warmup_steps'],
            weight_decay=hyperparameters['weight_decay'],
        )
        for role in roles
    }
    given = dict(
        steps=hyperparameters['steps'],
        labeled=hyperparameters['batch'],
        dropout={role: hyperparameters[f'{role}_dropout'] for role in roles},
    )
    return recipes.config(data, algorithm | common, optimizers, **given | more)
