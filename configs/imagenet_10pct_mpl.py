"""Meta Pseudo Labels on ImageNet with 10 % of the labels.

    python -m mpl.train --config=configs/imagenet_10pct_mpl.py --workdir=runs/imagenet_10pct_mpl
    python -m mpl.train --config=configs/imagenet_10pct_mpl.py:paper --workdir=runs/imagenet_10pct_mpl_paper

Numbers: configs/released.py; with `:paper` configs/paper.py (recalled). Fine-tuning: section 3.2,
2,000 steps.
What the released code computes has no feedback: `--config.algorithm.feedback=off`.
Published: 73.89 % top-1, 91.38 % top-5 after fine-tuning (paper, one run). Not yet run here.
"""

from configs import imagenet, paper, released

FINETUNE = paper.FINETUNE | dict(steps=2_000)


def get_config(numbers: str = 'released'):
    """numbers: whose, 'released' or 'paper'."""
    data = imagenet.data('10pct')
    return {
        'released': lambda: released.mpl(data, released.IMAGENET, FINETUNE),
        'paper': lambda: paper.mpl(data, 'imagenet', FINETUNE),
    }[numbers]()
