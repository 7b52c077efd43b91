"""Meta Pseudo Labels on the digits with 40 labels.

    python -m mpl.train --config=configs/digits_40_mpl.py --workdir=runs/digits_40_mpl
    python -m mpl.train --config=configs/digits_40_mpl.py:off --workdir=runs/digits_40_off

Numbers: the best of six settings for each estimator on validation, `benchmarks.tune_digits`.
Result on test over 10 seeds: student 94.9 ± 1.2 %, teacher 95.7 ± 0.8 %; without feedback (`:control`)
94.9 ± 1.3 and 95.5 ± 1.1 %. 10 s on one CPU core.
"""

from configs import digits

TUNED = {
    'exact': dict(feedback_weight=1.0, label_view='weak'),
    'per_example': dict(feedback_weight=0.3, label_view='weak', labels='sampled'),
    'dot': dict(feedback_weight=1.0, label_view='weak', labels='sampled'),
    'off': dict(uda_weight=0.5, label_view='strong'),
    # Not tuned by themselves: `exact` without its feedback, and with the other sign, and
    # what is not in the table.
    'control': dict(feedback='off', label_view='weak'),
    'flipped': dict(feedback='exact', feedback_weight=-1.0, label_view='weak'),
    'cosine': dict(feedback_weight=1.0, label_view='weak', labels='sampled'),
    'difference': dict(feedback_weight=1.0, label_view='weak', labels='sampled'),
}


def get_config(feedback: str = 'exact', labels: int = 40):
    """feedback: an estimator of mpl/feedback.py, or another key of TUNED."""
    algorithm = dict(name='mpl', feedback=feedback, ema_decay=0.99) | TUNED[feedback]
    return digits.config(labels, algorithm, roles=('teacher', 'student'))
