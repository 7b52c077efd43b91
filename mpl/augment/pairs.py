"""Views of self-supervised training: two or more of each image, each with a crop of its own."""

from collections.abc import Sequence
from typing import Annotated

import jax

from mpl.augment import crops, images, policies
from mpl.augment.views import Views


def make(
    mean: float | Sequence[float],
    std: float | Sequence[float],
    size: int | None = None,
    area: tuple = (0.08, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    crop_from: str = 'whole',
    mirror: bool = True,
    first: Annotated[dict, policies.find] = {'name': 'color'},
    second: Annotated[dict | None, policies.find] = None,
    parts: int = 2,
    small: Annotated[dict | None, policies.find] = None,
    small_parts: int = 0,
    small_size: int | None = None,
    small_area: tuple = (0.05, 0.14),
    labeled: str = 'none',
) -> Views:
    """The views 'view_0', 'view_1', ... of unlabeled images, and 'small_0', ... of small parts.

    Each is a random resized crop of its own (see `crops.make`), flipped with probability 1/2,
    changed by a policy and standardized. The crop is bicubic, as in the released SimCLR and BYOL
    codes; torchvision's default is bilinear. Where a published recipe flips last, the order makes
    no difference to the distribution of the views.

    Args:
        mean, std: as in `images.make`.
        size: height and width of the views, in pixels; None: of whole images, without crops, for
            policies with a geometry of their own.
        area, ratio, crop_from: of the crops, as in `crops.make`.
        mirror: whether each view is flipped horizontally with probability 1/2.
        first: the policy of view_0: `name` and parameters.
        second: that of the other views; None: as `first`.
        parts: number of views, at least 1.
        small: the policy of the small crops; None: as `first`.
        small_parts: number of small crops (multi-crop, arXiv 2006.09882, section 3.3).
        small_size: their height and width, in pixels; needed with small_parts.
        small_area: minimum and maximum share of the image's area in them.
        labeled: the view of labeled images: 'none' (as in evaluation, for an online probe), 'weak'
            (crop and flip) or 'strong' (also the policy `first`).

    Raises ValueError for a name or value that is not allowed.
    """
    if parts < 1 or small_parts < 0:
        raise ValueError(
            f'augment pairs: parts={parts} and small_parts={small_parts}; give at least 1 and 0.'
        )
    if small_parts and (size is None or small_size is None or small_size > size):
        raise ValueError(
            f'augment pairs: small_parts={small_parts} need crops: give a size, and a small_size up to it '
            f'(they are {size} and {small_size}).'
        )

    def policy(chosen):
        given = {'strong': chosen, 'weak': {'mirror': mirror}, 'strong_geometry': 'shared'}
        return images.make(mean, std, 'strong', **given).labeled

    names = [f'view_{n}' for n in range(parts)] + [f'small_{n}' for n in range(small_parts)]
    one, other = policy(first), policy(second or first)
    views = dict.fromkeys(names, other) | {'view_0': one}
    own = None
    if size is not None:
        own = dict.fromkeys(names[:parts], crops.random_crop(size, area, ratio, crop_from))
    if small_parts:
        changed = policy(small or first)
        views |= dict.fromkeys(names[parts:], changed)
        cut = crops.random_crop(small_size, small_area, ratio, crop_from)
        own |= dict.fromkeys(names[parts:], cut)

    def unlabeled(key, image):
        keys = jax.random.split(key, len(views))
        given = dict.fromkeys(views, image) if own is None else image
        return {name: view(k, given[name]) for k, (name, view) in zip(keys, views.items())}

    of_labeled = images.make(
        mean, std, labeled, {'mirror': mirror}, first, strong_geometry='shared'
    )
    crop = None if labeled == 'none' or own is None else own['view_0']
    return of_labeled._replace(unlabeled=unlabeled, crop=crop, crops=own)
