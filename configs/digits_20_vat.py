"""Virtual adversarial training on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_vat.py --workdir=runs/digits_20_vat
"""

from configs import digits_40_vat


def get_config():
    return digits_40_vat.get_config(labels=20)
