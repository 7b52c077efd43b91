"""Recipes on small images whose teacher is trained first: distillation, and Reduced Meta Pseudo Labels.

No published recipe for so few labels was found. The teacher is UDA of configs/released.py. Steps,
batches, views, the student's optimizer and the fine-tuning of Reduced MPL are those of the released
code. The temperature 4 is in the range of the literature (2 to 8); the weight 0.9 and the small network
of Reduced MPL are this repository's. The teacher has the student's architecture; a wider one is set by
--config.teacher.config.networks.student.model.width=8.
"""

from . import released


def distill(data: dict, hyperparameters: dict):
    """Distillation of the teacher's logits, computed once per image, and cross-entropy on the labels."""
    config = released.uda(data, hyperparameters)
    config.algorithm = dict(
        name='distill', weight=0.9, temperature=4.0, ema_decay=hyperparameters['ema_decay']
    )
    config.teacher = dict(config=released.uda(data, hyperparameters).to_dict())
    return config


def reduced_mpl(data: dict, hyperparameters: dict):
    """MPL whose teacher is these logits, corrected by a small network that the feedback trains."""
    config = released.mpl(data, hyperparameters)
    config.algorithm = dict(
        name='reduced_mpl',
        feedback='exact',
        label_smoothing=hyperparameters['label_smoothing'],
        ema_decay=hyperparameters['ema_decay'],
    )
    config.networks.teacher.model = dict(name='mlp', widths=(32,), init=0.01)
    config.networks.student.optimizer.wait_steps = 0  # Its teacher is trained already.
    config.teacher = dict(config=released.uda(data, hyperparameters).to_dict())
    return config
