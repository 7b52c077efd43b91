"""Meta Pseudo Labels on the digits with 40 labels.

python -m mpl.train --config=configs/digits_40_mpl.py --workdir=runs/digits_40_mpl
"""

from configs import digits


def get_config(feedback: str = 'exact', labels: int = 40):
    """feedback: an estimator of mpl.algorithms.mpl, or 'flipped': exact with the other sign."""
    sampled = feedback not in ('exact', 'flipped', 'off')
    return digits.config(
        labels,
        dict(
            name='mpl',
            feedback='exact' if feedback == 'flipped' else feedback,
            feedback_weight=-1.0 if feedback == 'flipped' else 1.0,
            labels='sampled' if sampled else 'soft',
            ema_decay=0.99,
        ),
        roles=('teacher', 'student'),
    )
