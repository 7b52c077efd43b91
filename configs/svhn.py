"""What the SVHN recipes share: data, views, network; otherwise as configs/cifar10.py.

73,257 training images of house numbers, and 531,131 easier ones, `extra`, to be used unlabeled.
No mirror; RandAugment turns nothing and moves nothing sideways, lest a 6 becomes a 9 or the next
digit moves in (recalled of the paper, not verified). Network: WRN-28-2 in bfloat16. Mean and
standard deviation: those of the training images, recalled.
"""

from configs import recipes

MEAN, STD = (111.609, 113.161, 120.565), (50.498, 51.258, 50.244)
OPERATIONS = (
    'AutoContrast',
    'Equalize',
    'Invert',
    'Posterize',
    'Solarize',
    'Color',
    'Contrast',
    'Brightness',
    'Sharpness',
    'ShearX',
    'ShearY',
    'TranslateY',
    'Cutout',
)


def data(labels: int, extra: bool = True) -> dict:
    """Sections of a config.

    Args:
      labels: in all, as many of each class, drawn by the seed; 0 for all of `train`.
      extra: whether those of `extra` are among the unlabeled images, 604,388 in all (the
        paper has 603,000), which stay on the device, 1.9 GB.
    """
    return dict(
        source=dict(name='tfds', dataset='svhn_cropped', unlabeled='extra' if extra else None),
        split=dict(labels=labels),
        views=recipes.views(32, MEAN, STD, mirror=False, operations=OPERATIONS),
        model=dict(name='wide_resnet', depth=28, width=2, dtype='bfloat16'),
        resident_bytes=2**31,
    )
