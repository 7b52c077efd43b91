"""Labels only on two moons with 6 labels.

    python -m mpl.train --config=configs/two_moons_supervised.py --workdir=runs/two_moons_supervised

Numbers: the best of 16 settings by `python -m benchmarks.two_moons --search`.
RESULT
"""

from configs import two_moons


def get_config():
    return two_moons.config(dict(name='supervised'), activation='relu', init=1.0, rate=0.09)
