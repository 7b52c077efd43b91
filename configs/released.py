"""The hyperparameters of the released code of Meta Pseudo Labels, for MPL and for its teacher alone, UDA.

From google-research/google-research, meta_pseudo_labels: the two commands of its README, and its
flags' defaults. Its learning rates are for a batch of 256; here they are scaled to the labeled batch.
Its teacher has no feedback from the student (the gradient of that term is zero), which is
`feedback='off'` here. It has no fine-tuning: that stage is the paper's (section 3.2).
"""

from . import paper, recipes

# The README's values for CIFAR-10 with 4,000 labels, and for ImageNet with 10 % of them.
CIFAR10 = dict(
    steps=300_000,
    labeled=128,
    unlabeled=7 * 128,
    rates=dict(student=0.1 * 128 / 256, teacher=0.1 * 128 / 256),
    wait_steps=3_000,
    weight_decay=5e-4,
    clip_norm=0.0,
    dropout=0.2,
    label_smoothing=0.15,
    ema_decay=0.995,
    uda=dict(weight=8.0, ramp_steps=5_000, temperature=0.7, threshold=0.6),
)
IMAGENET = dict(
    steps=700_000,
    labeled=1024,
    unlabeled=15 * 1024,
    rates=dict(student=0.1 * 1024 / 256, teacher=0.15 * 1024 / 256),
    wait_steps=20_000,
    weight_decay=1e-4,
    clip_norm=5.0,
    dropout=0.1,
    label_smoothing=0.1,
    ema_decay=0.999,
    uda=dict(weight=20.0, ramp_steps=50_000, temperature=0.5, threshold=0.6),
)
WARMUP_STEPS = 5_000


def mpl(data: dict, hyperparameters: dict, finetune: dict = paper.FINETUNE):
    """Meta Pseudo Labels with these hyperparameters, and exact feedback, which the code lacks."""
    return recipes.config(
        data,
        dict(
            name='mpl',
            feedback='exact',
            label_view='strong',
            label_smoothing=hyperparameters['label_smoothing'],
            ema_decay=hyperparameters['ema_decay'],
            target_pass='joined',
        )
        | {f'uda_{key}': value for key, value in hyperparameters['uda'].items()},
        dict(
            teacher=_sgd(hyperparameters, 'teacher'),
            student=_sgd(hyperparameters, 'student')
            | dict(wait_steps=hyperparameters['wait_steps']),
        ),
        hyperparameters['steps'],
        hyperparameters['labeled'],
        hyperparameters['unlabeled'],
        dict.fromkeys(('teacher', 'student'), hyperparameters['dropout']),
        finetune,
    )


def uda(data: dict, hyperparameters: dict):
    """The teacher without a student: UDA, the baseline of MPL."""
    return recipes.config(
        data,
        dict(
            name='uda',
            mask_sharpened=True,
            label_smoothing=hyperparameters['label_smoothing'],
            ema_decay=hyperparameters['ema_decay'],
            target_pass='joined',
        )
        | hyperparameters['uda'],
        dict(student=_sgd(hyperparameters, 'teacher')),
        hyperparameters['steps'],
        hyperparameters['labeled'],
        hyperparameters['unlabeled'],
        dict(student=hyperparameters['dropout']),
    )


def _sgd(hyperparameters, role):
    return dict(
        name='sgd',
        learning_rate=hyperparameters['rates'][role],
        warmup_steps=WARMUP_STEPS,
        weight_decay=hyperparameters['weight_decay'],
        clip_norm=hyperparameters['clip_norm'],
    )
