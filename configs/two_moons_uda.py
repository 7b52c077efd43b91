"""Consistency under Gaussian noise on two moons with 6 labels.

    python -m mpl.train --config=configs/two_moons_uda.py --workdir=runs/two_moons_uda

Numbers: the best of 16 settings by `python -m benchmarks.two_moons --search`.
RESULT
"""

from configs import two_moons


def get_config():
    return two_moons.config(
        dict(name='uda', weight=5.75, temperature=0.49, threshold=0.0),
        activation='tanh',
        init=1.0,
        rate=0.16,
        noise=0.2,
    )
