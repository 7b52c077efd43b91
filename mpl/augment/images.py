"""Views of images: a weak view (flip, shift) and a strong one (a policy chosen by name), standardized."""

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Annotated

import jax
import jax.numpy as jnp
import numpy as np

from mpl.augment import policies, resize, warp
from mpl.augment.mix import mixing
from mpl.augment.views import Views
from mpl.parallel import spatial

LABELED = ('weak', 'strong', 'none')
STRONG_GEOMETRY = ('own', 'shared', 'twice', 'none')


def geometry(mirror: bool = False, shift: int = 0, fill: str | float = 'reflect') -> Callable:
    """The weak view: (key, image [B, H, W, C]) -> the same shape and dtype, without interpolation.

    Args:
        mirror: whether an image is flipped horizontally with probability 1/2; False for digits and letters.
        shift: maximum shift in whole pixels along each axis, with a uniform distribution.
        fill: padding: 'reflect' (about the edge pixel), 'edge', or a pixel value in [0, 255].
    """
    if not isinstance(mirror, bool):
        raise ValueError(f'augment images: weak.mirror={mirror!r}; give True or False.')
    if not (isinstance(shift, int) and shift >= 0):
        raise ValueError(
            f'augment images: weak.shift={shift!r} is not a number of pixels; give an integer >= 0.'
        )
    if fill not in ('reflect', 'edge') and not (
        isinstance(fill, (int, float)) and 0 <= fill <= 255
    ):
        raise ValueError(
            f"augment images: weak.fill={fill!r}; give 'reflect', 'edge' or a pixel value in [0, 255]."
        )

    def move(key, image):
        size, height, width = image.shape[:3]
        if fill == 'reflect' and shift >= min(height, width):
            raise ValueError(
                f'augment images: weak.shift={shift} cannot be reflected within {height} x {width} '
                'pixels; give a smaller shift or another fill.'
            )
        mirror_key, shift_key = jax.random.split(key)
        offset = jax.random.randint(shift_key, (size, 2), -shift, shift + 1)
        row = jnp.arange(height) + offset[:, :1]
        column = jnp.arange(width) + offset[:, 1:]
        if mirror:
            mirrored = jax.random.bernoulli(mirror_key, shape=(size, 1))
            column = jnp.where(mirrored, width - 1 - column, column)
        row, column = row[:, :, None], column[:, None, :]
        moved = spatial.row_by_row(
            warp.take, image, _inward(row, height, fill), _inward(column, width, fill)
        )
        if fill in ('reflect', 'edge') or not shift:
            return moved
        inside = (_inside(row, height) & _inside(column, width))[..., None]
        return jnp.where(inside, moved, jnp.asarray(fill, image.dtype))

    return move if mirror or shift else lambda key, image: image


def make(
    mean: float | Sequence[float],
    std: float | Sequence[float],
    labeled: str = 'weak',
    weak: Annotated[dict, geometry] = {},
    strong: Annotated[dict | None, policies.find] = {'name': 'identity'},
    strong_geometry: str = 'own',
    mix: Annotated[dict, mixing] = {},
    size: int = 0,
) -> Views:
    """Views of images [B, H, W, C] with pixels in [0, 255], uint8 or float32.

    Args:
        mean, std: standardization of every view, (pixel - mean) / std; one value, or one per channel.
        labeled: the view of the labeled images: 'weak', 'strong' or 'none' (standardized only).
        weak: the parameters of `geometry`.
        strong: `name` of a policy, a file in this folder with a function `policy`, and its parameters; None: as
            'identity'.
        strong_geometry: the input of the policy. 'own': the image with an independent flip and shift; 'shared':
            the weak view of the same image; 'twice': as 'shared', with an independent flip and shift after the
            policy (as in the released Meta Pseudo Labels code); 'none': the image without augmentation.
        mix: the parameters of `mix.mixing`, which is applied last, to the labeled images.
        size: height and width to which every view is resized after its augmentation, as in `resize.resize`; 0
            for those of the image.

    Raises ValueError for a name or value that is not allowed.
    """
    _check(mean, std, labeled, strong_geometry)
    if size < 0:
        raise ValueError(
            f'augment images: size={size}; give a number of pixels, 0 for those of the image.'
        )
    mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
    move = _build(geometry, weak, 'weak')
    change = _policy({'name': 'identity'} if strong is None else strong)

    def evaluate(image):
        if mean.size not in (1, image.shape[-1]) or std.size not in (1, image.shape[-1]):
            raise ValueError(
                f'augment images: mean has {mean.size} and std {std.size} values, but the images '
                f'{image.shape} have {image.shape[-1]} channels; give one number, or one for each.'
            )
        image = image.astype(jnp.float32)
        if size:
            image = spatial.row_by_row(partial(resize.resize, size=(size, size)), image)
        return (image - mean) / std

    def both(key, image):
        weak_key, own_key, policy_key = jax.random.split(key, 3)
        image = image.astype(jnp.float32)
        moved = move(weak_key, image)
        start = {'own': lambda: move(own_key, image), 'none': lambda: image}.get(
            strong_geometry, lambda: moved
        )()
        changed = change(policy_key, start)
        if strong_geometry == 'twice':
            changed = move(own_key, changed)
        return {'weak': evaluate(moved), 'strong': evaluate(changed)}

    def one(key, image):
        return evaluate(image) if labeled == 'none' else both(key, image)[labeled]

    return Views(
        labeled=one,
        unlabeled=both,
        evaluate=evaluate,
        mix=_build(mixing, mix, 'mix'),
    )


def _inside(index, size):
    return (index >= 0) & (index < size)


def _inward(index, size, fill):
    """Indices outside of the image -> those of the padding's pixels."""
    if fill == 'reflect':
        index = jnp.abs(index)
        return jnp.minimum(index, 2 * (size - 1) - index)
    return jnp.clip(index, 0, size - 1)


def _policy(strong):
    parameters = dict(strong)
    name = parameters.pop('name', None)
    return _build(policies.find(name), parameters, f'strong ({name})')


def _build(function, parameters, where):
    parameters, allowed = dict(parameters), inspect.signature(function).parameters
    unknown = [name for name in parameters if name not in allowed]
    if unknown:
        raise ValueError(
            f'augment images: {where} has no {", ".join(unknown)}; it has {", ".join(allowed)}.'
        )
    return function(**parameters)


def _check(mean, std, labeled, strong_geometry):
    for name, value, allowed in (
        ('labeled', labeled, LABELED),
        ('strong_geometry', strong_geometry, STRONG_GEOMETRY),
    ):
        if value not in allowed:
            raise ValueError(f'augment images: {name}={value!r}; give one of {", ".join(allowed)}.')
    for name, value in (('mean', mean), ('std', std)):
        try:
            fits = np.asarray(value, np.float32).ndim <= 1
        except (TypeError, ValueError):
            fits = False
        if not fits:
            raise ValueError(
                f'augment images: {name}={value!r}; give one number, or one for each channel.'
            )
    if not np.all((np.asarray(std) >= 1e-6) & np.isfinite(std)):
        raise ValueError(
            f'augment images: std={std!r}; give finite numbers from 1e-6 up, in units of [0, 255].'
        )
    if not np.all(np.isfinite(np.asarray(mean))):
        raise ValueError(
            f'augment images: mean={mean!r}; give finite numbers, in units of [0, 255].'
        )
