"""What the Fashion-MNIST recipes share: data, views, network; otherwise as configs/cifar10.py.

Gray pictures of 28 pixels. Network: WRN-28-2 in bfloat16. Mean and standard deviation: those of the
training images.
"""

from configs import recipes


def data(labels: int) -> dict:
    """Sections of a config.

    labels: in all, as many of each class, drawn by the seed; 0 for all 60,000.
    """
    return dict(
        source=dict(name='tfds', dataset='fashion_mnist'),
        split=dict(labels=labels),
        views=recipes.views(28, 72.94, 90.02, mirror=True),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
    )
