"""What the ImageNet recipes share: data, views, networks.

`imagenet2012` and, for 10 % and 1 % of the labels, `imagenet2012_subset/10pct` and `/1pct` (those of
SimCLR; the 10 % of the released code of Meta Pseudo Labels are not public) must have been prepared
by tensorflow-datasets, as array_record; --config.source.data_dir names the folder. Views as in
the released code: one random part of each picture for all its views, 224 pixels; RandAugment N = 2,
M = 17 on the strong one; the middle 87.5 % for evaluation. Network: ResNet-50 in bfloat16.
"""

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
RESNET50 = dict(name='resnet', depth=50, dtype='bfloat16')


def data(
    share: str = '',
    extra: str = '',
    held_out: int = 0,
    model: dict = RESNET50,
    size: int = 224,
    magnitude: float = 17.0,
) -> dict:
    """Sections of a config.

    Args:
      share: of the labels: '10pct' or '1pct', where the other pictures are unlabeled; '' for all.
      extra: the name of a prepared set whose split 'train' holds the unlabeled pictures.
      held_out: labeled pictures for validation.
      model: the network.
      size: of the views, in pixels.
      magnitude: of RandAugment.
    """
    source = dict(
        name='tfds',
        dataset=f'imagenet2012_subset/{share}' if share else 'imagenet2012',
        test='validation',
        size=size,
        central=0.875,
    )
    if share:
        # The labeled ones are among them as in the released code, each under one number.
        source |= dict(
            unlabeled='train', unlabeled_dataset='imagenet2012', unlabeled_without_train=True
        )
    elif extra:
        source |= dict(unlabeled='train', unlabeled_dataset=extra)
    return dict(
        source=source,
        split=dict(validation=held_out, unlabeled_includes_labeled=not extra),
        views=dict(
            name='crops',
            mean=MEAN,
            std=STD,
            size=size,
            strong=dict(
                name='released',
                layers=2,
                magnitude=magnitude,
                translate=100.0,
                patch=80,
                cutout=0,
            ),
        ),
        model=model,
        steps_per_call=1,
    )
