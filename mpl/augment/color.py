"""Color augmentation of SimCLR (arXiv 2002.05709, appendix A) and BYOL: jitter, gray, blur, solarize."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from mpl.augment import blur, hsv, layer, ops, randaugment
from mpl.augment.layer import Draw, Operation

THRESHOLD = 128  # pixel value from which solarizing inverts
JITTER = {
    'brightness': randaugment.LIBRARY['Brightness'],
    'contrast': randaugment.LIBRARY['Contrast'],
    'saturation': randaugment.LIBRARY['Color'],
    'hue': Operation('image', hsv.shift_hue),
}
SOLARIZE = {'solarize': Operation('table', lambda image, _: ops.solarize_table(THRESHOLD))}
GRAY = {'gray': Operation('image', lambda image, _: jnp.broadcast_to(ops.grey(image), image.shape))}


def policy(
    brightness: float = 0.8,
    contrast: float = 0.8,
    saturation: float = 0.8,
    hue: float = 0.2,
    jitter: float = 0.8,
    grayscale: float = 0.2,
    blurred: float = 0.5,
    sigma: Sequence[float] = (0.1, 2.0),
    kernel: int = 0,
    solarized: float = 0.0,
    gray_first: bool = False,
) -> Callable:
    """(key, image float32 [B, H, W, C] in [0, 255]) -> the same shape, whole numbers in the same range.

    The jitter is torchvision's `ColorJitter` of Pillow images: brightness, contrast, saturation and
    hue, in a random order per image. Gray, blur and inversion of the pixels from 128 up follow, in this
    order. All values are sampled per image, with uniform distributions.

    Args:
        brightness, contrast, saturation: s, for factors from max(0, 1 - s) to 1 + s; 0 leaves it out.
        hue: maximum shift in either direction, as a fraction of the circle, at most 0.5; 0 leaves it out.
        jitter, grayscale, blurred, solarized: probabilities of the four.
        sigma: (lowest, highest) deviation of the Gaussian blur, in pixels.
        kernel: pixels of its kernel, odd; 0: a tenth of the height, rounded down and made odd, at least 3.
        gray_first: gray before the jitter, as in MoCo v1.

    The defaults are those for ImageNet (strength 1); for CIFAR-10 the jitter is half as strong, and
    there is no blur. Raises ValueError for a value that is not allowed.
    """
    strength = {
        'brightness': brightness,
        'contrast': contrast,
        'saturation': saturation,
        'hue': hue,
    }
    chance = {
        'jitter': jitter,
        'grayscale': grayscale,
        'blurred': blurred,
        'solarized': solarized,
    }
    _check(strength, chance, sigma, kernel)
    chosen = {name: JITTER[name] for name, value in strength.items() if value}
    low = jnp.array([-hue if n == 'hue' else max(0.0, 1 - strength[n]) for n in chosen])
    high = jnp.array([hue if n == 'hue' else 1 + strength[n] for n in chosen])

    def change(key, image):
        jitter_key, gray_key, blur_key, sigma_key = jax.random.split(key, 4)
        none = jnp.zeros(len(image))
        if grayscale and gray_first:
            image = _change_some(gray_key, image, grayscale, none, GRAY)
        if chosen and jitter:
            image = _jitter(jitter_key, image, jitter, low, high, chosen)
        if grayscale and not gray_first:
            image = _change_some(gray_key, image, grayscale, none, GRAY)
        if blurred:
            size = kernel or max(3, image.shape[1] // 10 // 2 * 2 + 1)
            value = jax.random.uniform(sigma_key, (len(image),), minval=sigma[0], maxval=sigma[1])
            gauss = Operation('image', lambda image, sigma: blur.gaussian(image, sigma, size))
            image = _change_some(blur_key, image, blurred, value, {'blur': gauss})
        if solarized:
            image = _change_some(jax.random.fold_in(key, 4), image, solarized, none, SOLARIZE)
        return image

    return change


def _jitter(key, image, probability, low, high, operations):
    """With this probability all operations, in an order by image; arguments are uniform from low to high [O]."""
    order_key, value_key, chance_key = jax.random.split(key, 3)
    shape = (len(image), len(operations))
    order = jnp.argsort(jax.random.uniform(order_key, shape), 1)
    value = low + (high - low) * jax.random.uniform(value_key, shape)
    applied = jax.random.uniform(chance_key, shape[:1]) < probability

    def one(place, image):
        operation = order[:, place]
        argument = jnp.take_along_axis(value, operation[:, None], 1)[:, 0]
        return layer.apply(image, Draw(jnp.where(applied, operation, -1), argument), operations)

    return jax.lax.fori_loop(0, len(operations), one, image)


def _change_some(key, image, probability, value, operations):
    """The one operation, with the argument value [B], on each image with this probability."""
    drawn = jax.random.uniform(key, (len(image),)) < probability
    return layer.apply(image, Draw(drawn.astype(jnp.int32) - 1, value), operations)


def _check(strength, chance, sigma, kernel):
    for name, value in strength.items():
        if not 0 <= value <= (0.5 if name == 'hue' else float('inf')):
            allowed = 'a number from 0 to 0.5' if name == 'hue' else 'a number >= 0'
            raise ValueError(f'augment color: {name}={value!r}; give {allowed}.')
    for name, value in chance.items():
        if not 0 <= value <= 1:
            raise ValueError(f'augment color: {name}={value!r}; give a probability, from 0 to 1.')
    if len(sigma) != 2 or not 0 < sigma[0] <= sigma[1]:
        raise ValueError(f'augment color: sigma={sigma!r}; give (lowest, highest), both above 0.')
    if kernel < 0 or kernel and kernel % 2 == 0:
        raise ValueError(f'augment color: kernel={kernel!r}; give an odd number of pixels, or 0.')
