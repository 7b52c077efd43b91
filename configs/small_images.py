"""What the experiments on photographs at the size of a CPU share: network, views, batch, steps.

A wide residual network of 10 layers sees 8 labeled and 32 unlabeled images in each of 600 steps.
Nothing was tuned on these sets: rates, decay and dropout are those of the recipes for 32x32 images
scaled to the small batch, the numbers of each method those that won on the digits with 40 labels, where
each was tuned for itself (`benchmarks.tune_digits`), with ramps over the same share of the run; but for
`uda`, whose temperature, mask and ramp are those inside MPL, and `off`, which is `exact` less its feedback.
"""

import ml_collections

from configs import noisy_student

METHODS = {
    'supervised': dict(name='supervised'),
    'pseudo_label': dict(name='pseudo_label', threshold=0.8),
    'pi_model': dict(name='pi_model', weight=30.0, ramp_steps=240),
    'temporal_ensembling': dict(name='temporal_ensembling', weight=30.0, ramp_steps=240),
    'mean_teacher': dict(name='mean_teacher', weight=100.0, ramp_steps=60),
    'vat': dict(name='vat', weight=1.0, radius=2.0, entropy_weight=1.0, ramp_steps=240),
    'uda': dict(name='uda', temperature=0.7, threshold=0.6, ramp_steps=100),
    'fixmatch': dict(name='fixmatch', threshold=0.7, weight=3.0),
    'flexmatch': dict(name='flexmatch', threshold=0.7),
    'freematch': dict(name='freematch', fairness_weight=0.001, memory_decay=0.99),
    'softmatch': dict(name='softmatch', deviations=1.0, memory_decay=0.99),
    'off': dict(name='mpl', feedback='off', label_view='weak'),
    'exact': dict(name='mpl', feedback='exact', label_view='weak'),
    'per_example': dict(
        name='mpl', feedback='per_example', labels='sampled', feedback_weight=0.3, label_view='weak'
    ),
    'noisy_student': dict(name='noisy_student'),
    'distill': dict(name='distill', weight=0.5, temperature=8.0),
    'reduced_mpl': dict(name='reduced_mpl', feedback='exact'),
}
MPL = dict(uda_temperature=0.7, uda_threshold=0.6, uda_ramp_steps=100)
# What trains, first, the network whose logits the method learns from.
TEACHERS = {'noisy_student': 'supervised', 'distill': 'uda', 'reduced_mpl': 'uda'}


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
    data = (mean, std, shift, cutout)
    algorithm = METHODS[method] | dict(ema_decay=0.99)
    if algorithm['name'] == 'mpl':
        algorithm = MPL | algorithm
    network = dict(
        model=dict(name='wide_resnet', depth=10, width=1),
        optimizer=dict(name='sgd', learning_rate=0.03, warmup_steps=50, weight_decay=5e-4),
    )
    networks = dict(student=network)
    if algorithm['name'] == 'mpl':
        networks['teacher'] = network
    if method == 'reduced_mpl':
        networks['teacher'] = network | dict(model=dict(name='mlp', widths=(32,), init=0.01))
    chosen = ml_collections.ConfigDict(
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
            networks=networks,
            algorithm=algorithm,
            every=dict(log=50, evaluate=300, save=300),
        )
    )
    if method in TEACHERS:
        teacher = config(dataset, labels, TEACHERS[method], *data)
        chosen.teacher = dict(config=teacher.to_dict())
    if method == 'noisy_student':  # One round, with its noise.
        chosen.views.labeled = 'strong'
        chosen.networks.student.model.dropout = 0.5
        chosen = noisy_student.rounds(teacher, chosen, 1, per_class=5000)
    return chosen
