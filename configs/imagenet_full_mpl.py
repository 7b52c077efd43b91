"""Meta Pseudo Labels on all of ImageNet and unlabeled pictures of your own, ResNet-50.

python -m mpl.train --config=configs/imagenet_full_mpl.py:my_pictures --workdir=runs/imagenet_full_mpl_my_pictures

The paper's 12.8 million unlabeled pictures (of JFT, those that a supervised ResNet-50 is surest of)
are not public: prepare a set of your own with tensorflow-datasets, split `train`, its labels
unused, and give its name, `:my_pictures`. 25,000 labeled pictures are for validation, as there.
Numbers: 4,096 labeled and 32,768 unlabeled pictures in each of 500,000 steps, 10,000 steps of fine-
tuning at the rate 1e-4 (section 3.3); all others are those of 10 % of the labels in
configs/paper.py (recalled).
Published: 83.2 % top-1, 96.5 % top-5 with JFT (table 3). Not yet run here.
"""

from configs import imagenet, paper


def get_config(extra: str = 'my_pictures'):
    """extra: name of the set of unlabeled pictures."""
    data = imagenet.data(extra=extra, held_out=25_000)
    return paper.mpl(data, 'imagenet', paper.LONG_FINETUNE, labeled=4096, unlabeled=32_768)
