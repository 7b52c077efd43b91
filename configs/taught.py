"""Recipes on small pictures whose teacher is trained first: distillation, and Reduced Meta Pseudo Labels.

Nobody has published them on these sets. The teacher is UDA, configs/released.py; steps, batches, views and
the student's optimizer are that teacher's own. Weight 0.9 and temperature 4 of distillation lie in the
range of the literature (2 to 8); the small network of Reduced MPL is this repository's, its paper's appendix
was not at hand. The teacher has the student's network; --config.teacher.config.networks.student.model.width=8
gives it a wider one.
"""

from configs import released


def distill(data: dict, numbers: dict):
    """The student learns from the logits of every image, computed once, and from the labels."""
    config = released.uda(data, numbers)
    config.algorithm = dict(
        name='distill', weight=0.9, temperature=4.0, ema_decay=numbers['ema_decay']
    )
    config.teacher = dict(config=released.uda(data, numbers).to_dict())
    return config


def reduced_mpl(data: dict, numbers: dict):
    """The student learns from those logits as a small network corrects them, by the student's feedback."""
    config = released.mpl(data, numbers)
    config.algorithm = dict(
        name='reduced_mpl',
        feedback='exact',
        label_smoothing=numbers['label_smoothing'],
        ema_decay=numbers['ema_decay'],
    )
    config.networks.teacher.model = dict(name='mlp', widths=(32,), init=0.01)
    config.teacher = dict(config=released.uda(data, numbers).to_dict())
    return config
