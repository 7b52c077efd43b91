"""Meta Pseudo Labels on STL-10 with 1,000 labels.

python -m mpl.train --config=configs/stl10_1000_mpl.py --workdir=runs/stl10_1000_mpl

Numbers: those for CIFAR-10, configs/released.py, untuned for this set.
Published: nothing; FixMatch has 93.75 % (README of JEPAMatch). Not yet run here.
"""

from configs import released, stl10


def get_config():
    return released.mpl(stl10.data(1000), released.CIFAR10)
