"""Views of pictures of any size, as for ImageNet: one random part of each, resized, for all its views."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import jax.numpy as jnp

from mpl.augment import images, policies, resize
from mpl.augment.views import Crop, Views
from mpl.parallel import spatial

TRIES = 10  # boxes drawn for a picture, of which the first that lies in it is taken
CENTER = 0.875  # share of the short side in the middle square that is taken where none does
OF = ('whole', 'square')


def make(
    mean: float | Sequence[float],
    std: float | Sequence[float],
    size: int,
    area: tuple = (0.08, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    of: str = 'whole',
    mirror: bool = True,
    labeled: str = 'weak',
    strong: Annotated[dict | None, policies.find] = None,
) -> Views:
    """Views of one random part of every picture: mirrored by halves each on its own, a policy on the strong one.

    Args:
        mean, std: as in `images.make`.
        size: height and width of the views, in pixels. Evaluation sees images as the source reads them.
        area: least and greatest share of the picture's area; shares are uniform between them.
        ratio: least and greatest width / height of the part, as it is cut; their logarithm is uniform.
        of: what the part is cut from: the 'whole' picture as it lies on disk, or the 'square' that the source reads.
            A source of pictures of one size that stay as they are reads whole ones. Wholes of other sources are
            decoded again for every batch.
        mirror: whether each view of every second image, at random, is seen in the mirror.
        labeled, strong: as in `images.make`: the labeled images get the 'weak' view, the part and its mirror.

    The part is drawn as by torchvision's RandomResizedCrop (arXiv 1409.4842, section 6): area uniform, logarithm of
    the ratio uniform. The released Meta Pseudo Labels code draws it by TensorFlow's sample_distorted_bounding_box
    instead: ratio uniform, height uniform, and at least a tenth of the picture. Where none of 10 draws lies in the
    picture it is the middle square, of CENTER of the short side, as in that code; torchvision takes the largest part
    of an allowed ratio. Raises ValueError for a name or number that is not allowed.
    """
    if size < 1:
        raise ValueError(f'augment crops: size={size}; give a number of pixels from 1 up.')
    if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
        raise ValueError(
            f'augment crops: area={area!r}; give the least and the greatest share, above 0, up to 1.'
        )
    if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            f'augment crops: ratio={ratio!r}; give the least and the greatest width / height, above 0.'
        )
    if of not in OF:
        raise ValueError(f'augment crops: of={of!r}; give one of {", ".join(OF)}.')

    def box(bits, height, width):
        return draw(bits, height, width, area, ratio)

    def cut(image, box):
        resized = partial(resize.resized_crop, size=(size, size), method='bicubic')
        return spatial.row_by_row(resized, image, box.astype(jnp.float32))

    views = images.make(mean, std, labeled, weak={'mirror': mirror}, strong=strong)
    return views._replace(crop=Crop(size, of == 'whole', 4 * TRIES, box, cut))


def draw(
    bits: Sequence[int], height: int, width: int, area: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int, int, int]:
    """The part of a picture, (left, upper, right, lower) in whole pixels.

    bits: 4 * TRIES numbers of 64 random bits. Plain Python: in arrays one picture takes 40 times as long.
    """
    number = (2.0**-53 * (bit >> 11) for bit in bits)  # each in [0, 1)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for share, shape, across, down in zip(number, number, number, number):
        pixels = height * width * (area[0] + share * (area[1] - area[0]))
        stretch = math.exp(low + shape * (high - low))
        wide, tall = round(math.sqrt(pixels * stretch)), round(math.sqrt(pixels / stretch))
        if 0 < wide <= width and 0 < tall <= height:
            left, upper = int(across * (width - wide + 1)), int(down * (height - tall + 1))
            return left, upper, left + wide, upper + tall
    side = max(1, round(CENTER * min(height, width)))
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side
