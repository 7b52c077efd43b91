"""Heads, networks and pretext tasks of self-supervised rules, at any size; used by the configs of each data set."""


def head(*widths: int, **more) -> dict:
    """A projector or predictor of these widths."""
    return dict(name='projector', widths=widths, **more)


def heads(
    hidden: int, out: int, wide: int, prototypes: int, key_norm: str = 'none'
) -> dict[str, dict[str, dict]]:
    """The heads of each method in the form of its paper, by role.

    Args:
      hidden: width of hidden layers.
      out: width of embeddings that are compared by their cosines.
      wide: width of embeddings whose statistics are compared, and of SimSiam's.
      prototypes: outputs of DINO.
      key_norm: batch norm of MoCo's outputs, 'none' in the paper. Without it the first keys are nearly parallel,
        and a short run loses some hundred steps; 'plain' avoids that (docs/self_supervised.md, the leak of queues).
    """
    pair = dict(projector=head(hidden, out), predictor=head(hidden, out))
    return {
        'simclr': dict(projector=head(hidden, out)),
        'supcon': dict(projector=head(hidden, out)),
        'moco': dict(projector=head(hidden, out, norm='none', last_norm=key_norm)),
        'moco_v3': pair | dict(projector=head(hidden, out, last_norm='plain')),
        'byol': pair,
        'simsiam': dict(
            projector=head(wide, wide, last_norm='plain'), predictor=head(wide // 4, wide)
        ),
        'moby': pair,
        'mobyv2al': dict(projector=head(out, last_norm='affine'), predictor=head(out, last_norm='affine')),
        'vicreg': dict(projector=head(wide, wide, wide, last_bias=False)),
        'barlow_twins': dict(projector=head(wide, wide, wide, last_bias=False)),
        'dino': dict(
            projector=head(
                hidden, hidden, out, activation='gelu', norm='none', prototypes=prototypes
            )
        ),
    }  # fmt: skip


# Of the models by name: the layer with the last maps, of which colors are predicted; of a ResNet that of 18 layers.
LAST = {
    'cnn': 'stage_2',
    'fast_cnn': 'stage_2',
    'resnet': 'group_3_block_1',
    'wide_resnet': 'activate',
}


def tasks(hidden: int, side: int, channels: int, model: str) -> dict[str, tuple[dict, dict]]:
    """Pretext tasks by name: the arguments of each rule, and its head.

    Args:
      hidden: width of the heads' hidden layer.
      side, channels: of the images. The square to predict is half as wide, a tile as `tile` says, as in the
        papers' images of 128 and 225 pixels (there 64, and 64 of cells of 75), and there are 2 x 2 tiles.
      model: the trunk's, by name.
    """
    hole = side // 2
    four = dict(classifier=head(hidden, 4))
    return {
        'rotation': ({}, four),
        's4l': ({}, four),
        'inpainting': (
            dict(hole=hole, overlap=max(hole // 16, 1)),
            dict(decoder=head(hidden, hole**2 * channels)),
        ),
        'jigsaw': (
            dict(tile=tile(side), grid=2, permutations=24),
            dict(classifier=head(hidden, 24)),
        ),
        # 74 bins of colors with this spacing.
        'colorization': (dict(layer=LAST[model], spacing=20.0), dict(classifier=head(74))),
    }


def tile(side: int) -> int:
    """The side of a tile of `jigsaw` for images of this side: three eighths."""
    return side * 3 // 8


# The view of labeled images of rules whose features learn from labels.
LABELED_VIEWS = {'s4l': 'strong', 'supcon': 'strong', 'mobyv2al': 'weak'}


def labeled_view(name: str) -> str:
    """The view of a rule's labeled images: none where they train a probe alone."""
    return LABELED_VIEWS[name] if name in LABELED_VIEWS else 'none'


def task_views(task: str, first: dict, **given) -> dict:
    """The section `views` of a pretext task: one view of each image, by the policy `first`.

    given: mean, std, size, area, mirror of mpl/augment/pairs.py. Gray images and their colors have no policy.
    """
    if task == 'colorization':
        return dict(name='colorization', **given)
    return dict(name='pairs', first=first, parts=1, labeled=labeled_view(task), **given)


def networks(model: dict, optimizer: dict, heads: dict[str, dict]) -> dict:
    """The section `networks`: trunk and heads with one optimizer.

    SimSiam's predictor, the only one with a bottleneck, has a constant rate, as in its released code.
    """
    found = {'student': dict(model=model, optimizer=optimizer)}
    for role, made in heads.items():
        narrow = role == 'predictor' and made['widths'][0] < made['widths'][-1]
        rate = dict(schedule='constant', warmup_steps=0) if narrow else {}
        found[role] = dict(model=made, optimizer=optimizer | rate)
    return found
