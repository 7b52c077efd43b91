"""What the experiments on the handwritten digits share: data, views, network, optimizer.

The 1,797 pictures of 8x8 pixels that scikit-learn carries: 600 for the test, 200 of the rest
held out for choices, a few of each class labeled, all but those held out unlabeled. Of any of
these configs --config.split.imbalance=10 makes a long tail, and
"--config.split.unlabeled_only=('8','9')" an open set.
"""

import ml_collections


def config(
    labels: int,
    algorithm: dict,
    roles: tuple[str, ...] = ('student',),
    learning_rate: float = 0.05,
    weight_decay: float = 5e-4,
    labeled: str = 'weak',
    unlabeled: int = 64,
):
    """The config of one method; network, views and steps are those of every other."""
    network = dict(
        model=dict(name='cnn', norm='batch'),
        optimizer=dict(
            name='sgd', learning_rate=learning_rate, warmup_steps=50, weight_decay=weight_decay
        ),
    )
    return ml_collections.ConfigDict(
        dict(
            seed=0,
            steps=1000,
            source=dict(name='digits'),
            split=dict(labels=labels, validation=200),
            batch=dict(labeled=16, unlabeled=unlabeled, evaluate=600),
            views=dict(
                name='images',
                mean=77.9,
                std=95.9,
                labeled=labeled,
                weak=dict(shift=1, fill=0),
                strong=dict(
                    name='affine',
                    rotate=20.0,
                    shear=0.2,
                    scale=(0.8, 1.2),
                    translate=1.0,
                    brightness=(0.6, 1.4),
                    contrast=(0.6, 1.4),
                    cutout=3,
                ),
                strong_geometry='none',
            ),
            networks={role: network for role in roles},
            algorithm=algorithm,
            every=dict(log=50, evaluate=250, save=250),
            steps_per_call=50,
        )
    )
