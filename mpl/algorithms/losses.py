"""Losses of logits, in nats, averaged over the batch."""

import jax
import jax.numpy as jnp


def smooth(label: jax.Array, classes: int, smoothing: float, dtype) -> jax.Array:
    """Target distributions [B, K] of label: int [B], or distributions [B, K].

    A part `smoothing` of each target is spread evenly over the classes.
    """
    if label.ndim == 1:
        label = jax.nn.one_hot(label, classes, dtype=dtype)
    return (1 - smoothing) * label + smoothing / classes


def cross_entropy(logits: jax.Array, label: jax.Array, smoothing: float = 0.0) -> jax.Array:
    """Mean cross-entropy of logits [B, K] against int [B] or distributions [B, K]."""
    return jnp.mean(_per_image(smooth(label, logits.shape[-1], smoothing, logits.dtype), logits))


def annealed_cross_entropy(
    logits: jax.Array, label: jax.Array, smoothing: float, greatest: jax.Array
) -> jax.Array:
    """`cross_entropy`, averaged over the images whose true class has a probability of at most `greatest`.

    0 if there are none. Training signal annealing (arXiv 1904.12848, section 3.3). The probability of
    a label that is a distribution is its mean under it.
    """
    true = jax.nn.softmax(jax.lax.stop_gradient(logits)) * smooth(
        label, logits.shape[-1], 0, logits.dtype
    )
    kept = (jnp.sum(true, -1) <= greatest).astype(logits.dtype)
    per_image = _per_image(smooth(label, logits.shape[-1], smoothing, logits.dtype), logits)
    return jnp.sum(kept * per_image) / jnp.maximum(jnp.sum(kept), 1)


def uda(
    weak: jax.Array, strong: jax.Array, temperature: float, threshold: float, mask_sharpened: bool
) -> tuple[jax.Array, jax.Array]:
    """Consistency of Unsupervised Data Augmentation (arXiv 1904.12848, section 3.2).

    The cross-entropy of the strong view's prediction against the weak view's, which is
    sharpened by `temperature` and has no gradient. (The paper has the Kullback-Leibler
    divergence, which differs by the target's entropy, so that the gradient is the same; the
    released MPL code has the cross-entropy.) Images whose greatest probability is below
    `threshold` count as zero, and still count in the mean.

    Args:
      weak: logits [B, K] of the weak view.
      strong: logits [B, K] of the strong view.
      temperature: below 1 sharpens.
      threshold: 0 keeps every image.
      mask_sharpened: compare the sharpened probability with the threshold, as the
        released MPL code does, rather than the plain one, as the UDA paper does.

    Returns:
      The loss, and the share of images above the threshold.
    """
    weak = jax.lax.stop_gradient(weak)
    target = jax.nn.softmax(weak / temperature)
    confidence = target if mask_sharpened else jax.nn.softmax(weak)
    mask = (jnp.max(confidence, axis=-1) >= threshold).astype(strong.dtype)
    return jnp.mean(mask * _per_image(target, strong)), jnp.mean(mask)


def check_temperature(name: str, temperature: float) -> None:
    """Raises ValueError for a temperature outside of [1e-4, 1e4].

    Below, a compiler's fused multiply-add in softmax(logits / temperature) overflows where logits
    are 1e5 (its error is half the last bit of the quotient, and is exponentiated); above, float32
    rounds differences of probabilities that distillation multiplies by the temperature.
    """
    if not 1e-4 <= temperature <= 1e4:
        raise ValueError(
            f'algorithm.{name} is {temperature}; give a number from 0.0001 to 10000 (below 1 '
            'sharpens, above 1 softens).'
        )


def accuracy(logits: jax.Array, label: jax.Array) -> jax.Array:
    """Mean probability of the class of the greatest of logits [B, K] in label, int [B] or [B, K]."""
    predicted = jnp.argmax(logits, axis=-1)
    if label.ndim == 1:
        return jnp.mean((predicted == label).astype(jnp.float32))
    return jnp.mean(jnp.take_along_axis(label, predicted[:, None], axis=-1))


def hard_cross_entropy(
    target: jax.Array, logits: jax.Array, weight: jax.Array | float = 1.0
) -> jax.Array:
    """Mean over all images of weight [B] times the cross-entropy against classes target, int [B]."""
    own = jnp.take_along_axis(jax.nn.log_softmax(logits), target[:, None], axis=-1)[:, 0]
    return -jnp.mean(weight * own)


def squared_distance(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Squared distance of probabilities [B], the mean over classes; target: probabilities [B, K]."""
    return jnp.mean((target - jax.nn.softmax(logits)) ** 2, axis=-1)


def kl_divergence(target: jax.Array, logits: jax.Array) -> jax.Array:
    """Kullback-Leibler divergence [B] KL(softmax(target) || softmax(logits)), both logits [B, K]."""
    fixed = jax.nn.log_softmax(target)
    return jnp.sum(jnp.exp(fixed) * (fixed - jax.nn.log_softmax(logits)), axis=-1)


def entropy(logits: jax.Array) -> jax.Array:
    """Entropy [B] of the predictions softmax(logits), logits [B, K]."""
    return _per_image(jax.nn.softmax(logits), logits)


def _per_image(target, logits):
    """Cross-entropy [B] of logits against distributions, both [B, K]."""
    return -jnp.sum(target * jax.nn.log_softmax(logits), axis=-1)
