"""Views of colorization: each image in gray, and its colors in the Lab space."""

from collections.abc import Sequence

import jax.numpy as jnp

from mpl.augment import lab, pairs
from mpl.augment.views import Views


def make(
    mean: float | Sequence[float],
    std: float | Sequence[float],
    size: int | None = None,
    area: tuple = (0.08, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    crop_from: str = 'whole',
    mirror: bool = True,
    labeled: str = 'none',
) -> Views:
    """The view 'view_0', gray in three channels and standardized, and 'color', a and b [B, H, W, 2].

    Gray has the lightness L of the image, so that the trunk takes the same three channels afterwards.
    Labeled images and those of the evaluation keep their colors.

    Args:
        mean, std, size, area, ratio, crop_from, mirror, labeled: as in `pairs.make`.
    """
    given = dict(size=size, area=area, ratio=ratio, crop_from=crop_from, mirror=mirror)
    plain = dict(first={'name': 'identity'}, parts=1)
    pixels = pairs.make(0.0, 1.0, **given, **plain)
    views = pairs.make(mean, std, **given, **plain, labeled=labeled)

    def unlabeled(key, image):
        image = pixels.unlabeled(key, image)['view_0']
        if image.shape[-1] != 3:
            raise ValueError(
                f'augment colorization: the images have {image.shape[-1]} channels and no colors to '
                'predict; give images with 3.'
            )
        color = lab.from_rgb(image / 255)
        gray = 255 * lab.to_gray(color[..., :1])
        return {
            'view_0': views.evaluate(jnp.broadcast_to(gray, image.shape)),
            'color': color[..., 1:],
        }

    return views._replace(unlabeled=unlabeled)
