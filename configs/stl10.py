"""What the STL-10 recipes share: data, views, network; otherwise as configs/cifar10.py.

5,000 labeled and 100,000 unlabeled images of 96 pixels; the unlabeled ones show other things too.
Network: WRN-28-2 in bfloat16; others have WRN-37-2 here, with a fourth group of blocks, so their
numbers can not be compared. Mean and standard deviation: those of the training images, recalled.
"""

from configs import recipes

MEAN, STD = (113.911, 112.149, 103.683), (66.377, 65.433, 69.182)


def data(labels: int) -> dict:
    """Sections of a config.

    labels: in all, as many of each class, drawn by the seed (the ten folds of 1,000 that come with
    the set are not used); 0 for all 5,000. All 105,000 images are unlabeled; they stay on the
    device, 2.9 GB.
    """
    return dict(
        source=dict(name='tfds', dataset='stl10', unlabeled='unlabelled'),
        split=dict(labels=labels),
        views=recipes.views(96, MEAN, STD, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
        resident_bytes=2**32,
    )
