"""Labels only on STL-10 with 1,000 labels.

    python -m mpl.train --config=configs/stl10_1000_supervised.py --workdir=runs/stl10_1000_supervised
    python -m mpl.train --config=configs/stl10_1000_supervised.py:strong --workdir=runs/stl10_1000_supervised_strong

Numbers: those for CIFAR-10, configs/paper.py (recalled), untuned for this set.
Published: nothing that we know of. Not yet run here.
"""

from configs import paper, stl10


def get_config(labeled: str = 'weak', labels: int = 1000):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    config = paper.supervised(stl10.data(labels), 'cifar10')
    config.views.labeled = labeled
    return config
