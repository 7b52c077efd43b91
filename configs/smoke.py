"""The shortest run with all stages: MPL on digits, 20 steps, an MLP.

    python -m mpl.train --config=configs/smoke.py --workdir=runs/smoke

Accuracy at chance level, in a few seconds. For tests, and to look at the output of a run.
"""

import ml_collections


def get_config():
    network = dict(
        model=dict(name='mlp', widths=(32,)), optimizer=dict(name='sgd', learning_rate=0.1)
    )
    return ml_collections.ConfigDict(
        dict(
            steps=20,
            source=dict(name='digits'),
            split=dict(labels=20, validation=100),
            batch=dict(labeled=16, unlabeled=32),
            views=dict(name='images', mean=77.9, std=95.9, strong=dict(name='affine', rotate=15.0)),
            networks=dict(teacher=network, student=network),
            algorithm=dict(name='mpl', ema_decay=0.9),
            finetune=dict(steps=10),
            every=dict(log=5, evaluate=10, save=10),
            steps_per_call=5,
        )
    )
