"""Views of points in the plane, as float32 images [B, 1, 1, 2]: Gaussian noise."""

import jax
import jax.numpy as jnp

from mpl.augment.views import Views


def make(noise: float = 0.0, weak_noise: float = 0.0) -> Views:
    """Views of points: strong adds N(0, noise^2), weak and labeled add N(0, weak_noise^2), evaluate no noise.

    Both are standard deviations in the units of the coordinates. Raises ValueError if one is negative.
    """
    for name, value in (('noise', noise), ('weak_noise', weak_noise)):
        if not value >= 0:
            raise ValueError(
                f'augment points: {name}={value!r} is not a standard deviation; give a number >= 0.'
            )

    def weak(key, image):
        return _jitter(key, image, weak_noise)

    def unlabeled(key, image):
        weak_key, strong_key = jax.random.split(key)
        return {'weak': weak(weak_key, image), 'strong': _jitter(strong_key, image, noise)}

    return Views(
        labeled=weak, unlabeled=unlabeled, evaluate=lambda image: image.astype(jnp.float32)
    )


def _jitter(key, image, deviation):
    return image.astype(jnp.float32) + deviation * jax.random.normal(key, image.shape)
