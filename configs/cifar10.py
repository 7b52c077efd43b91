"""What the CIFAR-10 recipes share: data, views, network. CIFAR-10 is prepared by tensorflow-datasets.

    python -c "import tensorflow_datasets as tfds; tfds.data_source('cifar10')"

prepares it (once, with TensorFlow installed) in ~/tensorflow_datasets; another folder is given by
--config.source.data_dir. Network: WRN-28-2 in bfloat16, 1,467,610 parameters. Mean and standard
deviation are those of the released code of Meta Pseudo Labels.
"""

from configs import recipes

MEAN, STD = (125.307, 122.9503, 113.8654), (62.9932, 62.0887, 66.7054)


def data(labels: int, held_out: bool = False) -> dict:
    """Sections of a config.

    Args:
      labels: in all, as many of each class, drawn by the seed; 0 for all 50,000. (The released
        code takes the first 4,000 images of its file, whatever their classes.)
      held_out: as in the paper: 5,000 images are for validation, and labeled images are no
        unlabeled ones, 41,000 with 4,000 labels. Otherwise, as in the released code, all
        50,000 are unlabeled and nothing is held out.
    """
    return dict(
        source=dict(name='tfds', dataset='cifar10'),
        split=dict(
            labels=labels,
            validation=5000 if held_out else 0,
            unlabeled_includes_labeled=not held_out,
        ),
        views=recipes.views(32, MEAN, STD, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
    )
