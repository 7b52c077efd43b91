"""The crops of the images of a batch: drawn on the host, cut there or on the devices."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from mpl.data import stream
from mpl.data.source import Source


def crop_of(views: Any, name: str) -> Any:
    """The Crop of the part `name`, or {view: Crop} where each view has its own; None for whole images."""
    own = views.crops if name == 'unlabeled' else None
    return views.crop if own is None else own


def on_host(source: Source, views: Any, name: str) -> bool:
    """Whether the images of a part are cropped on the host while they are decoded.

    True if views crop whole images, and `Pool.read` would return only a part of them. With a crop for each
    view an image is decoded once for each.
    """
    crops = _leaves(crop_of(views, name))
    return source.train.crop is not None and any(crop.whole for crop in crops)


def bits(views: Any, seed: int, name: str, steps: range, count: int) -> Any:
    """The random bits of the crops of a part, uint64 [steps, count, draws]; by view as the crops are."""

    def draw(crop, purpose):
        return stream.bits(seed, f'{purpose} crops', steps, count, crop.draws)

    crop = crop_of(views, name)
    if isinstance(crop, dict):
        return {view: draw(one, f'{name} {view}') for view, one in crop.items()}
    return crop and draw(crop, name)


def images(
    source: Source, views: Any, name: str, index: np.ndarray, bits: Any, resident: bool = False
) -> dict[str, Any]:
    """The input of the views: 'image' [n, H, W, C], and 'box' [n, 4] if the device crops them.

    Where each view has its own crop, the boxes are {view: [n, 4]}, or the images, cropped by the host,
    {view: [n, size, size, C]}.

    Args:
      source, views: of the run.
      name: of the part, 'labeled' or 'unlabeled'.
      index: indices of training examples, int [n].
      bits: uint64 [n, draws] as of the function `bits`, for the crops; None without crops.
      resident: whether the images are on the devices already; then only boxes are returned.
    """
    pool, crop = source.train, crop_of(views, name)
    if on_host(source, views, name):

        def cut(one, drawn):
            def box(n, height, width):
                return one.box(drawn[n].tolist(), height, width)

            return pool.crop(index, box, one.size)

        return {'image': by_view(cut, crop, bits)}
    part = {} if resident else {'image': pool.read(index)}
    if crop is not None:
        shape = source.image_shape[:2]

        def boxes(one, drawn):
            return np.array([one.box(row, *shape) for row in drawn.tolist()], np.int32)

        part['box'] = by_view(boxes, crop, bits)
    return part


def apply(views: Any, name: str, part: dict) -> dict:
    """The part of a batch with its images cropped to its boxes, if it has boxes."""
    if 'box' not in part:
        return part
    part = dict(part)
    image, box = part['image'], part.pop('box')
    return part | {
        'image': by_view(lambda one, box: one.cut(image, box), crop_of(views, name), box)
    }


def by_view(function: Callable, crop: Any, *trees: Any) -> Any:
    """function(crop, *leaves), or {view: function(crop, *leaves)} where each view has its own crop."""
    return jax.tree.map(function, crop, *trees, is_leaf=_is_crop)


def _leaves(crop):
    return jax.tree.leaves(crop, is_leaf=_is_crop)


def _is_crop(value):
    return hasattr(value, 'box')
