"""What the experiments on photographs at the size of a CPU share: network, views, batch, steps.

A wide residual network of 10 layers sees 8 labeled and 32 unlabeled images in each of 600 steps.
Nothing was tuned on these sets: rates, decay and dropout are those of the recipes for 32x32 images
scaled to the small batch, MPL's weights those that won on the digits with 40 labels, where each
estimator was tuned for itself (`benchmarks.tune_digits`).
"""

import ml_collections

METHODS = {
    'supervised': dict(name='supervised', ema_decay=0.99),
    'uda': dict(name='uda', temperature=0.7, threshold=0.6, ramp_steps=100, ema_decay=0.99),
    'off': dict(name='mpl', feedback='off', label_view='weak'),
    'exact': dict(name='mpl', feedback='exact', label_view='weak'),
    'per_example': dict(
        name='mpl', feedback='per_example', labels='sampled', feedback_weight=0.3, label_view='weak'
    ),
}
MPL = dict(uda_temperature=0.7, uda_threshold=0.6, uda_ramp_steps=100, ema_decay=0.99)


def config(
    dataset: str,
    labels: int,
    method: str,
    mean: float | tuple[float, ...],
    std: float | tuple[float, ...],
    shift: int,
    cutout: int,
):
    """The config of one of METHODS; network, views, batches and steps are those of every other."""
    algorithm = METHODS[method]
    if algorithm['name'] == 'mpl':
        algorithm = MPL | algorithm
    network = dict(
        model=dict(name='wide_resnet', depth=10, width=1),
        optimizer=dict(name='sgd', learning_rate=0.03, warmup_steps=50, weight_decay=5e-4),
    )
    roles = ('teacher', 'student') if algorithm['name'] == 'mpl' else ('student',)
    return ml_collections.ConfigDict(
        dict(
            seed=0,
            steps=600,
            source=dict(name='tfds', dataset=dataset, data_dir=None),
            split=dict(labels=labels, validation=1000),
            batch=dict(labeled=8, unlabeled=0 if method == 'supervised' else 32, evaluate=500),
            views=dict(
                name='images',
                mean=mean,
                std=std,
                weak=dict(mirror=True, shift=shift),
                strong=dict(name='randaugment', scale='rising', cutout=cutout),
                strong_geometry='own',
            ),
            networks={role: network for role in roles},
            algorithm=algorithm,
            every=dict(log=50, evaluate=300, save=300),
        )
    )
