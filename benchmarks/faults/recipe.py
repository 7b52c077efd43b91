"""The runs of the campaigns: small networks on the digits that save often.

    python -m mpl.train --config=benchmarks/faults/recipe.py:mpl --workdir=runs/mpl

Argument: 'mpl', with fine-tuning at the end, or 'taught', Noisy Student after a teacher's stage.
"""

import ml_collections


def get_config(kind: str = 'mpl'):
    network = dict(
        model=dict(name='mlp', widths=(32,)), optimizer=dict(name='sgd', learning_rate=0.05)
    )
    shared = dict(
        steps=300,
        source=dict(name='digits'),
        split=dict(labels=20, validation=100),
        views=dict(name='images', mean=77.9, std=95.9, strong=dict(name='affine', rotate=15.0)),
        every=dict(log=10, evaluate=50, save=5),
        steps_per_call=5,
    )
    own = {
        'mpl': dict(
            batch=dict(labeled=16, unlabeled=32),
            networks=dict(teacher=network, student=network),
            algorithm=dict(name='mpl', ema_decay=0.9),
            finetune=dict(steps=20),
        ),
        'supervised': dict(
            batch=dict(labeled=16),
            networks=dict(student=network),
            algorithm=dict(name='supervised', ema_decay=0.9),
        ),
    }
    if kind == 'taught':
        return ml_collections.ConfigDict(
            shared
            | dict(
                batch=dict(labeled=16, unlabeled=32),
                networks=dict(student=network),
                algorithm=dict(name='noisy_student', ema_decay=0.9),
                teacher=dict(config=shared | own['supervised'], per_class=50, balance=True),
            )
        )
    return ml_collections.ConfigDict(shared | own[kind])
