"""SoftMatch (Chen et al., arXiv 2301.10921)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss_with_memory
from mpl.models.network import Definition

ALIGNMENT_EPSILON = 1e-6


def make(
    student: Definition,
    weight: float = 1.0,
    deviations: float = 2.0,
    align: bool = True,
    memory_decay: float = 0.999,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """FixMatch with weights in place of a threshold: a Gaussian of the confidence below its mean.

    Confidences above their mean have weight 1; mean and variance are moving averages over steps
    that include the present one. Weights are computed from predictions aligned with the uniform
    distribution, pseudo-labels from predictions as they are. Alignment adds ALIGNMENT_EPSILON to
    the average, as the released code (USB) does: without it a class whose probability is 0 for
    every image gives 0 / 0. The averages start as in that code, but for that of the predictions,
    which starts at 0 and is divided by its sum, where the code starts at the first batch's.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      deviations: n, how many fit in one standard deviation: sigma / n is the width.
      align: whether predictions are divided by their average first, for the weights.
      memory_decay: of the averages; 1 keeps them at their start, at which every weight is 1.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.

    Raises:
      ValueError: (by `update`) the batch has one unlabeled image, which has no variance.
    """

    def loss(params, net, memory, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward(
            student, params, net, batch, key, 'weak', 'strong'
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        prediction = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        if len(prediction) < 2:
            raise ValueError(
                'SoftMatch needs the variance of confidences within a batch, but '
                'batch.unlabeled is 1; give 2 or more.'
            )
        average = memory['average'] + (1 - memory_decay) * (
            jnp.mean(prediction, 0) - memory['average']
        )
        confidence = jnp.max(align_uniformly(prediction, average) if align else prediction, -1)
        mean, variance = (
            old + (1 - memory_decay) * (new - old)
            for old, new in (
                (memory['mean'], jnp.mean(confidence)),
                (memory['variance'], jnp.var(confidence, ddof=1)),
            )
        )
        under = jnp.minimum(confidence - mean, 0)
        # A variance of 0 gives weight 1 at the mean and 0 below it.
        spread = 2 * jnp.maximum(variance, jnp.finfo(variance.dtype).tiny)
        share = jnp.exp(-((under * deviations) ** 2) / spread)
        unlabeled = losses.hard_cross_entropy(jnp.argmax(prediction, -1), strong.logits, share)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(share),
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
            {'average': average, 'mean': mean, 'variance': variance},
        )

    def memory(sizes):
        return {
            'average': jnp.zeros(sizes.classes, jnp.float32),  # of predictions; see align_uniformly
            'mean': jnp.array(1 / sizes.classes, jnp.float32),  # of confidences
            'variance': jnp.array(1.0, jnp.float32),
        }

    return from_loss_with_memory(loss, student, ema_decay, memory)


def align_uniformly(probability: jax.Array, average: jax.Array) -> jax.Array:
    """Probabilities [B, K] divided by the average ones [K] and normalized again.

    average: a moving average that starts at 0, so that it sums to less than 1 at first; it is
        divided by its sum. While it is 0 the probabilities stay as they are.
    """
    total = jnp.maximum(jnp.sum(average), jnp.finfo(average.dtype).tiny)
    aligned = probability / (average / total + ALIGNMENT_EPSILON)
    return aligned / jnp.sum(aligned, -1, keepdims=True)
