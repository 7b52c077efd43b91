"""The interface of augmentation to a training step: functions of a batch of images."""

from collections.abc import Callable
from typing import NamedTuple


class Crop(NamedTuple):
    """A random part of each image, resized, that all its views start from.

    Which part is drawn on the host, so that it is the same wherever it is cut out: on the host, from encoded
    pictures of any size, or on the device, from images of one size.
    """

    size: int  # height and width of the part, resized
    whole: bool  # whether it is a part of the picture on disk, not of what `Pool.read` gives
    draws: int  # numbers that `box` takes
    box: Callable  # (`draws` numbers of 64 random bits, height, width) -> left, upper, right, lower
    cut: Callable  # (image [B, H, W, C], box int32 [B, 4]) -> float32 [B, size, size, C], on the device


class Views(NamedTuple):
    """The views of a batch of images, as float32 inputs of a network.

    Every function takes images [B, H, W, C], uint8 or float32, works under `jit`, `vmap` and `scan`, and its random
    draws for image i depend on the key and on i, not on B.
    """

    labeled: Callable  # (key, image) -> float32 [B, H, W, C]
    unlabeled: (
        Callable  # (key, image) -> {'weak': float32 [B, H, W, C], 'strong': float32 [B, H, W, C]}
    )
    evaluate: Callable  # (image) -> float32 [B, H, W, C]; no randomness
    # (key, labeled views, label int [B], classes) -> images mixed with each other, float32 [B, classes]
    mix: Callable | None = None
    crop: Crop | None = None  # what `labeled` and `unlabeled` are given; None: whole images
