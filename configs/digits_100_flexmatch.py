"""FlexMatch on the digits with 100 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_100_flexmatch.py --workdir=runs/digits_100_flexmatch
"""

from configs import digits_40_flexmatch


def get_config():
    return digits_40_flexmatch.get_config(labels=100)
