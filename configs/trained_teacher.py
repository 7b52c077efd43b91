"""Recipes on small pictures whose teacher is trained first: distillation, and Reduced Meta Pseudo Labels.

None was found published with so few labels. The teacher is UDA, configs/released.py; steps, batches, views,
the student's optimizer, and the fine-tuning of Reduced MPL, are those of the released code. Temperature 4
lies in the range of the literature (2 to 8); its weight of 0.9, and the small network of Reduced MPL, are
this repository's. The teacher has the student's network;
--config.teacher.config.networks.student.model.width=8 gives it a wider one.
"""

from . import released


def distill(data: dict, hyperparameters: dict):
    """The student learns from the logits of every image, computed once, and from the labels."""
    config = released.uda(data, hyperparameters)
    config.algorithm = dict(
        name='distill', weight=0.9, temperature=4.0, ema_decay=hyperparameters['ema_decay']
    )
    config.teacher = dict(config=released.uda(data, hyperparameters).to_dict())
    return config


def reduced_mpl(data: dict, hyperparameters: dict):
    """The student learns from those logits as a small network corrects them, by the student's feedback."""
    config = released.mpl(data, hyperparameters)
    config.algorithm = dict(
        name='reduced_mpl',
        feedback='exact',
        label_smoothing=hyperparameters['label_smoothing'],
        ema_decay=hyperparameters['ema_decay'],
    )
    config.networks.teacher.model = dict(name='mlp', widths=(32,), init=0.01)
    config.networks.student.optimizer.wait_steps = 0  # Its teacher knows something already.
    config.teacher = dict(config=released.uda(data, hyperparameters).to_dict())
    return config
