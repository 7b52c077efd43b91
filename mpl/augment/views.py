"""The interface of augmentation: functions of a batch of images."""

from collections.abc import Callable
from typing import NamedTuple


class Crop(NamedTuple):
    """A random resized crop of each image, the input of all its views.

    Boxes are sampled on the host, so that they are the same whether images are cropped on the host, from encoded
    images of any size, or on the device, from images of one size.
    """

    size: int  # height and width of the resized crop
    whole: bool  # whether it is a crop of the image on disk, not of the result of `Pool.read`
    draws: int  # number of random integers that `box` takes
    box: (
        Callable  # (`draws` integers of 64 random bits, height, width) -> left, upper, right, lower
    )
    cut: Callable  # (image [B, H, W, C], box int32 [B, 4]) -> float32 [B, size, size, C], on the device


class Views(NamedTuple):
    """The views of a batch of images, as float32 inputs of a network.

    Every function takes images [B, H, W, C], uint8 or float32, works under `jit`, `vmap` and `scan`, and its random
    draws for image i depend on the key and on i, not on B.
    """

    labeled: Callable  # (key, image) -> float32 [B, H, W, C]
    # (key, image) -> float32 [B, H, W, C] by the name of the view; image: {view: [B, h, w, C]} with `crops`
    unlabeled: Callable
    evaluate: Callable  # (image) -> float32 [B, H, W, C]; deterministic
    # (key, labeled views, label int [B], classes) -> mixed images, and labels float32 [B, classes]
    mix: Callable | None = None
    crop: Crop | None = None  # crops the input of `labeled` and `unlabeled`; None: whole images
    crops: dict[str, Crop] | None = (
        None  # of unlabeled images: a crop of its own for each view, by name
    )
