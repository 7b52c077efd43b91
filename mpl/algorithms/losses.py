"""Losses of logits, in nats, averaged over the batch; and checks of an algorithm's arguments."""

from collections.abc import Iterable

import jax
import jax.numpy as jnp


def smooth(label: jax.Array, classes: int, smoothing: float, dtype) -> jax.Array:
    """Label smoothing: target distributions [B, K] from label, int [B] or distributions [B, K].

    A share `smoothing` of each target is spread evenly over the classes.
    """
    if label.ndim == 1:
        label = jax.nn.one_hot(label, classes, dtype=dtype)
    return (1 - smoothing) * label + smoothing / classes


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Mean cross-entropy of logits [B, K] against int [B] or distributions [B, K]."""
    return jnp.mean(_per_image(smooth(label, logits.shape[-1], smoothing, logits.dtype), logits))


def annealed_cross_entropy(
    logits: jax.Array, label: jax.Array, smoothing: float, max_probability: jax.Array
) -> jax.Array:
    """`cross_entropy` over the images whose true class has at most the probability `max_probability`.

    The mean over these images; 0 if there are none. Training signal annealing (arXiv 1904.12848,
    section 3.3). If the label is a distribution, the mean probability under it counts.
    """
    true = jax.nn.softmax(jax.lax.stop_gradient(logits)) * smooth(
        label, logits.shape[-1], 0, logits.dtype
    )
    kept = (jnp.sum(true, -1) <= max_probability).astype(logits.dtype)
    per_image = _per_image(smooth(label, logits.shape[-1], smoothing, logits.dtype), logits)
    return jnp.sum(kept * per_image) / jnp.maximum(jnp.sum(kept), 1)


def uda(
    weak: jax.Array, strong: jax.Array, temperature: float, threshold: float, mask_sharpened: bool
) -> tuple[jax.Array, jax.Array]:
    """Consistency of Unsupervised Data Augmentation (arXiv 1904.12848, section 3.2).

    The cross-entropy of the strong view's prediction against the weak view's prediction, which
    is sharpened by `temperature` and has no gradient. (The paper has the Kullback-Leibler
    divergence. It differs by the target's entropy, so the gradient is the same. The released
    MPL code has the cross-entropy.) Images whose maximum probability is below `threshold` have
    weight 0 in the mean over all images.

    Args:
      weak: logits [B, K] of the weak view.
      strong: logits [B, K] of the strong view.
      temperature: below 1 sharpens.
      threshold: 0 keeps every image.
      mask_sharpened: compare the sharpened probability with the threshold, as the
        released MPL code does; otherwise the probability before sharpening, as the UDA paper
        does.

    Returns:
      The loss, and the share of images above the threshold.
    """
    weak = jax.lax.stop_gradient(weak)
    target = jax.nn.softmax(weak / temperature)
    confidence = target if mask_sharpened else jax.nn.softmax(weak)
    mask = (jnp.max(confidence, axis=-1) >= threshold).astype(strong.dtype)
    return jnp.mean(mask * _per_image(target, strong)), jnp.mean(mask)


def power_of_two(x: jax.Array) -> jax.Array:
    """The power of two, exactly, that brings each x > 0 to between 1/2 and 1; 1 where x is 0."""
    mantissa, _ = jnp.frexp(x)
    return jnp.where(x > 0, mantissa / jnp.where(x > 0, x, 1), 1)


def check_temperature(name: str, temperature: float) -> None:
    """Raises ValueError for a temperature outside of [1e-4, 1e4].

    Below this range, a compiler's fused multiply-add in softmax(logits / temperature) overflows
    for logits of 1e5: its error of half the last bit of the quotient is exponentiated. Above it,
    float32 rounds differences of probabilities that distillation multiplies by the temperature.
    """
    if not 1e-4 <= temperature <= 1e4:
        raise ValueError(
            f'algorithm.{name} is {temperature}; give a number from 0.0001 to 10000 (below 1 '
            'sharpens, above 1 softens).'
        )


def check_choice(name: str, value: str, allowed: Iterable[str]) -> None:
    """Raises ValueError for a value of the algorithm's argument `name` that is not among the allowed ones."""
    if value not in allowed:
        raise ValueError(
            f'algorithm.{name} {value!r} is unknown; choose one of {", ".join(allowed)}.'
        )


def accuracy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Accuracy of the argmax of logits [B, K]; label: int [B], or distributions [B, K]."""
    predicted = jnp.argmax(logits, axis=-1)
    if label.ndim == 1:
        return jnp.mean((predicted == label).astype(jnp.float32))
    return jnp.mean(jnp.take_along_axis(label, predicted[:, None], axis=-1))


def hard_cross_entropy(
    target: jax.Array, logits: jax.Array, weight: jax.Array | float = 1.0
) -> jax.Array:
    """Mean over all images of weight [B] times the cross-entropy against classes target, int [B]."""
    log_p = jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=-1)[:, 0]
    return -jnp.mean(weight * log_p)


def squared_distance(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Squared error of softmax(logits), [B], averaged over classes; target: probabilities [B, K]."""
    return jnp.mean((target - jax.nn.softmax(logits)) ** 2, axis=-1)


def kl_divergence(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence [B] KL(softmax(target) || softmax(logits)), both logits [B, K]."""
    log_target = jax.nn.log_softmax(target)
    return jnp.sum(jnp.exp(log_target) * (log_target - jax.nn.log_softmax(logits)), axis=-1)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy [B] of the predictions softmax(logits), logits [B, K]."""
    return _per_image(jax.nn.softmax(logits), logits)


def _per_image(target, logits):
    """Cross-entropy [B] of logits against distributions, both [B, K]."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)
