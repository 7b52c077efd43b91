"""What the experiments on two moons share: 2,000 points, 1,000 on each moon, 6 of them labeled.

The defaults are the toy of Meta Pseudo Labels (arXiv 2003.10580, section 3.1): two hidden layers
of 8 sigmoid units, weights from U(-0.1, 0.1), SGD at the constant rate 0.1. The paper names
neither the noise of the points (0.1 here), nor the batch, nor the number of steps.
"""

import ml_collections


def config(
    algorithm: dict,
    steps: int = 6000,
    activation: str = 'sigmoid',
    init: float = 0.1,
    rate: float = 0.1,
    teacher_rate: float = 0.1,
    noise: float = 0.1,
) -> ml_collections.ConfigDict:
    """The config of one method.

    Weights come from U(-init, init). `rate` is the student's, `noise` the standard
    deviation of the strong view, in units of the moons' radius.
    """
    roles = ('teacher', 'student') if algorithm['name'] == 'mpl' else ('student',)

    def network(learning_rate):
        return dict(
            model=dict(name='mlp', widths=(8, 8), activation=activation, init=init),
            optimizer=dict(
                name='sgd', learning_rate=learning_rate, schedule='constant', momentum=0.0
            ),
        )

    return ml_collections.ConfigDict(
        dict(
            steps=steps,
            source=dict(name='two_moons', examples=2000, noise=0.1),
            split=dict(labels=6),
            # The 6 labeled points four times each, so that 8 devices can share them.
            batch=dict(labeled=24, unlabeled=32, evaluate=1000),
            views=dict(name='points', noise=noise),
            networks={r: network(teacher_rate if r == 'teacher' else rate) for r in roles},
            algorithm=algorithm,
            every=dict(log=500, evaluate=1000, save=3000),
            steps_per_call=500,
        )
    )
