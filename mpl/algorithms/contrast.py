"""Losses of embeddings of views, float32 [B, D], and measures of their collapse.

All means are over the global batch: under `jit` an array is the whole of it, however many devices
hold its rows. So negatives, statistics and gradients do not depend on the number of devices.
"""

import jax
import jax.numpy as jnp

from mpl.models.layers import unit

SMALLEST = 1e-12  # that is divided by


def cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    """Mean cosine of the rows of a and b, from -1 to 1."""
    return jnp.mean(jnp.sum(unit(a) * unit(b), -1))


def among_pairs(a: jax.Array, b: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """NT-Xent (arXiv 2002.05709, equation 1) of two views, the mean over all 2B embeddings.

    Each embedding has to find the other view of its image among the 2B - 1 others. The similarities are blocks of B x B, so that no
    rows move between devices. Embeddings that are all alike have the value log(2B - 1). (The released
    code adds the means of the two views: twice this value.)

    Returns:
      The loss, and the share of embeddings whose nearest one is the other view.
    """
    a, b = unit(a), unit(b)
    across = _similarities(a, b) / temperature
    own = jnp.eye(len(a), dtype=bool)
    losses, hits = [], []
    for z, between in ((a, across), (b, across.T)):
        within = jnp.where(own, -jnp.inf, _similarities(z, z) / temperature)
        positive = jnp.diagonal(between)
        total = jnp.logaddexp(_log_sum(between), _log_sum(within))
        losses.append(jnp.mean(total - positive))
        nearest = jnp.maximum(jnp.max(between, 1), jnp.max(within, 1))
        hits.append(jnp.mean((positive >= nearest).astype(z.dtype)))
    return sum(losses) / 2, sum(hits) / 2


def among_keys(
    q: jax.Array,
    k: jax.Array,
    negatives: jax.Array,
    temperature: float,
    own: jax.Array | bool = False,
) -> tuple[jax.Array, jax.Array]:
    """InfoNCE (arXiv 1911.05722, equation 1) of queries, each with its key and K negatives [K, D].

    Neither keys nor negatives have a gradient. own: bool [B, K], where a negative is of the query's image and is
    left out.

    Returns:
      The loss, and the share of queries whose key is nearer than all negatives.
    """
    q, k = unit(q), jax.lax.stop_gradient(unit(k))
    positive = jnp.sum(q * k, -1) / temperature
    others = _similarities(q, jax.lax.stop_gradient(negatives)) / temperature
    others = jnp.where(own, -jnp.inf, others)
    loss = jnp.mean(jnp.logaddexp(positive, _log_sum(others)) - positive)
    return loss, jnp.mean((positive >= jnp.max(others, -1)).astype(q.dtype))


def among_batch(q: jax.Array, k: jax.Array, temperature: float) -> tuple[jax.Array, jax.Array]:
    """InfoNCE of queries and all keys of the batch, which have no gradient (arXiv 2104.02057).

    Returns:
      The loss, and the share of queries that are nearest to their own key.
    """
    logits = _similarities(unit(q), jax.lax.stop_gradient(unit(k))) / temperature
    positive = jnp.diagonal(logits)
    hits = jnp.mean((positive >= jnp.max(logits, -1)).astype(q.dtype))
    return jnp.mean(_log_sum(logits) - positive), hits


def among_labels(z: jax.Array, label: jax.Array, temperature: float) -> jax.Array:
    """Supervised contrast (arXiv 2004.11362, equation 2), the mean over embeddings with positives.

    Of embeddings z [N, D]. The positives of one are all others of its class, averaged outside of the logarithm.
    label: int [N], or distributions [N, K], whose inner products are then the weights of the pairs.
    Without the released code's factor of temperature / 0.07.
    """
    z, own = unit(z), jnp.eye(len(z), dtype=bool)
    if label.ndim == 1:
        alike = (label[:, None] == label).astype(z.dtype)
    else:
        alike = _similarities(label, label)
    alike = jnp.where(own, 0, alike)
    logits = jnp.where(own, -jnp.inf, _similarities(z, z) / temperature)
    log_p = jnp.where(own, 0, logits - _log_sum(logits)[:, None])
    positives = jnp.sum(alike, -1)
    per_image = -jnp.sum(alike * log_p, -1) / jnp.where(positives > 0, positives, 1)
    has_positive = (positives > 0).astype(z.dtype)
    return jnp.sum(has_positive * per_image) / jnp.maximum(jnp.sum(has_positive), 1)


def self_distillation(
    student: list[jax.Array],
    teacher: list[jax.Array],
    center: jax.Array,
    temperature: float,
    target_temperature: float,
) -> jax.Array:
    """Cross-entropy of a teacher's and a student's other views (arXiv 2104.14294, equation 3).

    The mean over all pairs of a teacher's view and another one of the student's.

    Args:
      student: outputs [B, K] of each view, those of the teacher first.
      teacher: outputs [B, K] of its views, without a gradient.
      center: subtracted from the teacher's outputs, [K].
      temperature, target_temperature: of the student's and of the teacher's softmax.
    """
    targets = [jax.nn.softmax((t - center) / target_temperature) for t in teacher]
    predicted = [jax.nn.log_softmax(s / temperature) for s in student]
    terms = [
        -jnp.mean(jnp.sum(jax.lax.stop_gradient(t) * p, -1))
        for i, t in enumerate(targets)
        for j, p in enumerate(predicted)
        if i != j
    ]
    return sum(terms) / len(terms)


def variance(z: jax.Array) -> jax.Array:
    """Mean hinge of standard deviations below 1 (arXiv 2105.04906, equation 1)."""
    deviation = jnp.sqrt(jnp.var(z, 0, ddof=1) + 1e-4)
    return jnp.mean(jax.nn.relu(1 - deviation))


def covariance(z: jax.Array) -> jax.Array:
    """Squared covariances of different dimensions, divided by D (arXiv 2105.04906, eqs. 3, 4)."""
    z = z - jnp.mean(z, 0)
    matrix = _products(z, z) / (len(z) - 1)
    return jnp.sum(_off_diagonal(matrix) ** 2) / z.shape[-1]


def cross_correlation(a: jax.Array, b: jax.Array) -> jax.Array:
    """Correlations [D, D] of the dimensions of a with those of b (arXiv 2103.03230, equation 2)."""

    def standardize(z):
        # As the released code: batch norm without scale and bias.
        return (z - jnp.mean(z, 0)) * jax.lax.rsqrt(jnp.var(z, 0) + 1e-5)

    return _products(standardize(a), standardize(b)) / len(a)


def redundancy(correlation: jax.Array, weight: float) -> jax.Array:
    """Sum of (1 - C_ii)^2, and weight times that of C_ij^2, i != j (arXiv 2103.03230, eq. 1)."""
    diagonal = jnp.diagonal(correlation)
    return jnp.sum((1 - diagonal) ** 2) + weight * jnp.sum(_off_diagonal(correlation) ** 2)


def measure(*views: jax.Array) -> dict[str, jax.Array]:
    """How far the embeddings of two or more views have collapsed, from the first two.

    'embedding/spread': root of D times the mean standard deviation of the normalized embeddings'
    dimensions: 1 for uniformly distributed directions, 0 if all are equal. 'embedding/rank': the
    participation ratio of their covariance, (sum of eigenvalues)^2 / sum of their squares, a lower
    bound of exp(entropy of the eigenvalues): the number of dimensions in use. 'embedding/positive'
    and 'embedding/negative': mean cosine of the two views of an image, and of different images in
    one view.
    """
    a, b = (jax.lax.stop_gradient(unit(z)) for z in views[:2])
    count, size = a.shape
    centered = a - jnp.mean(a, 0)
    square = jnp.sum(centered**2)
    gram = _products(centered, centered) if size <= count else _similarities(centered, centered)
    total = jnp.sum(jnp.sum(a, 0) ** 2)
    return {
        'embedding/spread': jnp.sqrt(float(size)) * jnp.mean(jnp.std(a, 0)),
        'embedding/rank': square**2 / jnp.maximum(jnp.sum(gram**2), SMALLEST),
        'embedding/positive': jnp.mean(jnp.sum(a * b, -1)),
        'embedding/negative': (total - jnp.sum(a * a)) / (count * (count - 1)),
    }


def _similarities(a, b):
    """Inner products [B, K] of the rows of a [B, D] and b [K, D]."""
    return jnp.matmul(a, b.T, precision='highest')


def _products(a, b):
    """Inner products [D, E] of the columns of a [B, D] and b [B, E]."""
    return jnp.matmul(a.T, b, precision='highest')


def _off_diagonal(matrix):
    return matrix * (1 - jnp.eye(len(matrix), dtype=matrix.dtype))


def _log_sum(logits):
    return jax.nn.logsumexp(logits, -1)
