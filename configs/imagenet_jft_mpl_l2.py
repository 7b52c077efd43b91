"""The paper's largest run: Meta Pseudo Labels, EfficientNet-L2, ImageNet and 130 million pictures of JFT.

    python -m mpl.train --config=configs/imagenet_jft_mpl_l2.py --workdir=runs/imagenet_jft_mpl_l2
    python -m mpl.plan --config=configs/imagenet_jft_mpl_l2.py --topology=v3:32x32

The second says, with no TPU at hand, what the first takes of each chip of a slice.

JFT is not public: the unlabeled pictures are the split `train` of a set of your own, prepared with
tensorflow-datasets; after a colon its name, `:my_pictures`. Those of the paper are the 130 million of
JFT-300M that Noisy Student kept by confidence, smaller classes filled up.
Numbers of section 4: 512 pixels; 2,048 labeled and 16,384 unlabeled pictures in each of 1,000,000
steps; 2,048 cores in 128 groups of 16, which share each picture by its columns and each weight in
equal parts (mesh); 20,000 steps of fine-tuning; 25,000 labeled pictures kept out (section 3.3).
Optimizer, average and noise are Noisy Student's (configs/noisy_student.py), the teacher's losses
those of configs/paper.py, recalled; nothing else about this run could be had. Not of the paper:
only the inputs of blocks are kept for the backward pass (remat), and equal blocks are one loop (scan).
Published: 90.2 % top-1, 98.8 % top-5 (table 4). Not yet run here.
Time: 11 days on 2,048 cores of TPU v3.
"""

from configs import noisy_student


def get_config(extra: str = 'my_pictures'):
    """extra: name of the set of unlabeled pictures."""
    config = noisy_student.mpl('l2', extra)
    config.mesh = dict(model=16, weights='model')
    return config
