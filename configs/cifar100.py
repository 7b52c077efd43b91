"""What the CIFAR-100 recipes share: data, views, network; otherwise as configs/cifar10.py.

Network: WRN-28-8 in bfloat16, the one of most papers (of others 28-2, and their results can not be
compared). Mean and standard deviation: those of the training images, recalled.
"""

from configs import recipes

MEAN, STD = (129.304, 124.070, 112.434), (68.170, 65.392, 70.418)


def data(labels: int) -> dict:
    """Sections of a config.

    labels: in all, as many of each class, drawn by the seed; 0 for all 50,000.
    """
    return dict(
        source=dict(name='tfds', dataset='cifar100'),
        split=dict(labels=labels),
        views=recipes.views(32, MEAN, STD, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=8, dtype='bfloat16'),
    )
