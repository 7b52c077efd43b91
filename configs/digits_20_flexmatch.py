"""FlexMatch on the digits with 20 labels; all other numbers are those of 40 labels.

python -m mpl.train --config=configs/digits_20_flexmatch.py --workdir=runs/digits_20_flexmatch
"""

from configs import digits_40_flexmatch


def get_config():
    return digits_40_flexmatch.get_config(labels=20)
