"""Views of images of any size, as for ImageNet: one random resized crop for all views of an image."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Annotated

import jax.numpy as jnp

from mpl.augment import images, policies, resize
from mpl.augment.views import Crop, Views
from mpl.parallel import spatial

TRIES = 10  # sampled boxes per image, of which the first that is inside of the image is used
CENTER = 0.875  # side of the center crop that is used if no box is inside, per short side
CROP_FROM = ('whole', 'square')


def make(
    mean: float | Sequence[float],
    std: float | Sequence[float],
    size: int,
    area: tuple = (0.08, 1.0),
    ratio: tuple = (3 / 4, 4 / 3),
    crop_from: str = 'whole',
    mirror: bool = True,
    labeled: str = 'weak',
    strong: Annotated[dict | None, policies.find] = None,
) -> Views:
    """Views of one random crop of every image: each flipped with probability 1/2, the strong one by a policy too.

    Args:
        mean, std: as in `images.make`.
        size: height and width of the views, in pixels. Evaluation sees images as the source reads them.
        area: minimum and maximum share of the image's area, with a uniform distribution.
        ratio: minimum and maximum width / height of the crop before resizing; its logarithm is uniform.
        crop_from: the 'whole' image as on disk, or the 'square' that the source reads.
            A source of images of one size without resizing reads whole ones. Whole images of other sources are
            decoded again for every batch.
        mirror: whether each view is flipped horizontally with probability 1/2.
        labeled, strong: as in `images.make`: with 'weak' the view of labeled images is the crop and its flip.

    The crop is sampled as in torchvision's RandomResizedCrop (arXiv 1409.4842, section 6): area uniform, logarithm of
    the ratio uniform. The released Meta Pseudo Labels code uses TensorFlow's sample_distorted_bounding_box
    instead: ratio uniform, height uniform, and at least a tenth of the image. If none of 10 boxes is inside of the
    image, it is the center crop with CENTER of the short side, as in that code; torchvision takes the largest crop
    of an allowed ratio. Raises ValueError for a name or value that is not allowed.
    """
    views = images.make(mean, std, labeled, weak={'mirror': mirror}, strong=strong)
    return views._replace(crop=random_crop(size, area, ratio, crop_from))


def random_crop(
    size: int, area: Sequence[float], ratio: Sequence[float], crop_from: str = 'whole'
) -> Crop:
    """The random resized crop of `make`, with its arguments; raises ValueError as it does."""
    if size < 1:
        raise ValueError(f'augment crops: size={size}; give a number of pixels from 1 up.')
    if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
        raise ValueError(
            f'augment crops: area={area!r}; give the minimum and the maximum share, above 0, up to 1.'
        )
    if len(ratio) != 2 or not 0 < ratio[0] <= ratio[1]:
        raise ValueError(
            f'augment crops: ratio={ratio!r}; give the minimum and the maximum width / height, above 0.'
        )
    if crop_from not in CROP_FROM:
        raise ValueError(
            f'augment crops: crop_from={crop_from!r}; give one of {", ".join(CROP_FROM)}.'
        )

    def box(bits, height, width):
        return sample_box(bits, height, width, area, ratio)

    def cut(image, box):
        resized = partial(resize.resized_crop, size=(size, size), method='bicubic')
        return spatial.row_by_row(resized, image, box.astype(jnp.float32))

    return Crop(size, crop_from == 'whole', 4 * TRIES, box, cut)


def sample_box(
    bits: Sequence[int], height: int, width: int, area: Sequence[float], ratio: Sequence[float]
) -> tuple[int, int, int, int]:
    """The random crop of an image, (left, upper, right, lower) in whole pixels.

    bits: 4 * TRIES integers of 64 random bits. Plain Python: with arrays one image takes 40 times as long.
    """
    uniform = (2.0**-53 * (bit >> 11) for bit in bits)  # each in [0, 1)
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for share, shape, across, down in zip(uniform, uniform, uniform, uniform):
        pixels = height * width * (area[0] + share * (area[1] - area[0]))
        stretch = math.exp(low + shape * (high - low))
        wide, tall = round(math.sqrt(pixels * stretch)), round(math.sqrt(pixels / stretch))
        if 0 < wide <= width and 0 < tall <= height:
            left, upper = int(across * (width - wide + 1)), int(down * (height - tall + 1))
            return left, upper, left + wide, upper + tall
    side = max(1, round(CENTER * min(height, width)))
    left, upper = (width - side) // 2, (height - side) // 2
    return left, upper, left + side, upper + side
