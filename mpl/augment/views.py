"""What a training step asks of augmentation: three functions of a batch of images."""

from collections.abc import Callable
from typing import NamedTuple


class Views(NamedTuple):
    """The views of a batch of images, as float32 inputs of a network.

    Every function takes images [B, H, W, C], uint8 or float32, works under `jit`, `vmap` and `scan`, and draws for
    image i numbers that depend on the key and on i, not on B.
    """

    labeled: Callable  # (key, image) -> float32 [B, H, W, C]
    unlabeled: (
        Callable  # (key, image) -> {'weak': float32 [B, H, W, C], 'strong': float32 [B, H, W, C]}
    )
    evaluate: Callable  # (image) -> float32 [B, H, W, C]; no randomness
    # (key, labeled views, label int [B], classes) -> images mixed with each other, float32 [B, classes]
    mix: Callable | None = None
