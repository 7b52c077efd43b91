"""The Pi-model on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_pi_model.py --workdir=runs/digits_20_pi_model
"""

from configs import digits_40_pi_model


def get_config():
    return digits_40_pi_model.get_config(labels=20)
