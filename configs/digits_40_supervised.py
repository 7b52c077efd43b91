"""Labels only on the digits with 40 labels: the baseline of every other number.

python -m mpl.train --config=configs/digits_40_supervised.py --workdir=runs/digits_40_supervised

Numbers: the best of six settings for each view on validation, `benchmarks.tune_digits`.
Result: 85.7 ± 3.3 % on test over 10 seeds; 91.2 ± 1.6 % with `:strong`. 2 s on one CPU core.
"""

from configs import digits


def get_config(labeled: str = 'weak', labels: int = 40):
    """labeled: the view of the labeled images, 'weak' or 'strong'."""
    rate, decay = {'weak': (0.1, 5e-4), 'strong': (0.02, 5e-3)}[labeled]
    return digits.config(
        labels,
        dict(name='supervised', ema_decay=0.99),
        learning_rate=rate,
        weight_decay=decay,
        labeled=labeled,
        unlabeled=0,
    )
