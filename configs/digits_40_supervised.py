"""Labels only on the digits with 40 labels: the baseline of every other number.

python -m mpl.train --config=configs/digits_40_supervised.py --workdir=runs/digits_40_supervised
"""

from configs import digits


def get_config(labeled: str = 'weak', labels: int = 40):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    return digits.config(
        labels, dict(name='supervised', ema_decay=0.99), labeled=labeled, unlabeled=0
    )
