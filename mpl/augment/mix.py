"""mixup (arXiv 1710.09412) and CutMix (arXiv 1905.04899) of labeled images.

The partner of each image is one of the same batch, by a random permutation; labels become
distributions in the same proportions. So an image depends on the whole batch, and in a batch that is
sharded over devices images move between them.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def mixing(
    mixup: float = 0.0, cutmix: float = 0.0, switch: float = 0.5, per_image: bool = False
) -> Callable | None:
    """(key, image float32 [B, H, W, C], label int [B], classes) -> mixed images, and labels float32 [B, classes].

    Args:
        mixup: the alpha of mixup; 0 for none. 0.2 is usual for ImageNet, 1 for CIFAR-10.
        cutmix: the alpha of CutMix; 0 for none, 1 in its paper.
        switch: the probability of CutMix if both are on; sampled per batch, or per image.
        per_image: sample a share, and a box, per image; the code of both papers samples one per batch.

    None if both are 0. Raises ValueError for a value that is not allowed.
    """
    for name, value in (('mixup', mixup), ('cutmix', cutmix)):
        if not value >= 0:
            raise ValueError(f'augment mix: {name}={value!r}; give an alpha >= 0, 0 for none.')
    if not 0 <= switch <= 1:
        raise ValueError(f'augment mix: switch={switch!r}; give a probability, from 0 to 1.')

    if not mixup and not cutmix:
        return None

    def mix(key, image, label, classes):
        key, switch_key = jax.random.split(key)
        label = jax.nn.one_hot(label, classes)
        if not cutmix:
            return mix_up(key, image, label, mixup, per_image)
        if not mixup:
            return cut_mix(key, image, label, cutmix, per_image)
        cut = jax.random.bernoulli(switch_key, switch, (len(image) if per_image else 1,))
        return tuple(
            jnp.where(_spread(cut, ours), ours, theirs)
            for ours, theirs in zip(
                cut_mix(key, image, label, cutmix, per_image),
                mix_up(key, image, label, mixup, per_image),
            )
        )

    return mix


def mix_up(key, image, label, alpha: float, per_image: bool = False):
    """share * own + (1 - share) * partner, of image float32 [B, ...] and label [B, K]; share ~ Beta(alpha, alpha)."""
    order, share = _draw(key, len(image), alpha, per_image)[:2]
    return tuple(
        _spread(share, value) * value + (1 - _spread(share, value)) * value[order]
        for value in (image, label)
    )


def cut_mix(key, image, label, alpha: float, per_image: bool = False):
    """A box of image [B, H, W, C], and its share of label [B, K], are replaced by the partner's.

    The area of the box before clipping at the edges is the share 1 - Beta(alpha, alpha) of the image;
    the box has the image's aspect ratio, and its center is any pixel. The share of the label is that
    of the clipped area.
    """
    order, share, place_key = _draw(key, len(image), alpha, per_image)
    height, width = image.shape[1:3]
    size = jnp.array([height, width])
    half = (size * jnp.sqrt(1 - share)[:, None]).astype(jnp.int32) // 2
    middle = jax.random.randint(place_key, (len(share), 2), 0, size)
    first, last = jnp.maximum(middle - half, 0), jnp.minimum(middle + half, size)

    def within(axis):
        index = jnp.arange(image.shape[axis + 1])
        return (index >= first[:, axis : axis + 1]) & (index < last[:, axis : axis + 1])

    box = within(0)[:, :, None, None] & within(1)[:, None, :, None]
    taken = (jnp.prod(last - first, -1) / (height * width))[:, None]
    return jnp.where(box, image[order], image), (1 - taken) * label + taken * label[order]


def _draw(key, batch, alpha, per_image):
    """Partners int32 [B], shares float32 [B] or [1], and a key."""
    order_key, share_key, place_key = jax.random.split(key, 3)
    share = jax.random.beta(share_key, alpha, alpha, (batch if per_image else 1,))
    return jax.random.permutation(order_key, batch), share, place_key


def _spread(share, value):
    return share.reshape((-1,) + (1,) * (value.ndim - 1))
