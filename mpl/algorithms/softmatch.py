"""SoftMatch (Chen et al., arXiv 2301.10921)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward_targets, from_loss_with_memory
from mpl.models import network
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
    target_pass: str = 'separate',
) -> Algorithm:
    """FixMatch with weights instead of a threshold: a Gaussian of the confidence below its mean.

    Confidences above their mean have weight 1. Mean and variance are moving averages that include
    the current step. Weights are computed from predictions after distribution alignment with the
    uniform distribution, pseudo-labels from predictions before it. Alignment adds ALIGNMENT_EPSILON
    to the average, as the released code (USB) does: otherwise a class whose probability is 0 for all
    images gives 0 / 0. The averages start as in that code, except for the average prediction: it
    starts at 0 and is divided by its sum; in that code it starts at the first batch's mean.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      deviations: n; the Gaussian has the standard deviation sigma / n.
      align: whether weights are computed after distribution alignment.
      memory_decay: decay of the averages; 1 keeps their initial values, with which all weights are 1.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
      target_pass: of the weak views, 'separate', 'joined' or 'averaged', see interface.forward_targets.

    Raises:
      ValueError: (by `update`) the batch has one unlabeled image, which has no variance.
    """

    def loss(params, net, memory, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward_targets(
            student, params, net, batch, key, target_pass
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        prediction = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        if len(prediction) < 2:
            raise ValueError(
                'SoftMatch needs the variance of confidences within a batch, but '
                'batch.unlabeled is 1; give 2 or more.'
            )
        average = network.average(memory_decay, memory['average'], jnp.mean(prediction, 0))
        confidence = jnp.max(align_uniformly(prediction, average) if align else prediction, -1)
        mean, variance = network.average(
            memory_decay,
            (memory['mean'], memory['variance']),
            (jnp.mean(confidence), jnp.var(confidence, ddof=1)),
        )
        below = jnp.minimum(confidence - mean, 0)
        # A variance of 0 gives weight 1 at the mean and 0 below it.
        width = 2 * jnp.maximum(variance, jnp.finfo(variance.dtype).tiny)
        weights = jnp.exp(-((below * deviations) ** 2) / width)
        unlabeled = losses.hard_cross_entropy(jnp.argmax(prediction, -1), strong.logits, weights)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(weights),
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
    """Distribution alignment: probabilities [B, K] divided by their average [K] and normalized again.

    average: a moving average that starts at 0, so its sum is less than 1 at first; it is divided by
        its sum. While it is 0 the probabilities do not change.
    """
    total = jnp.maximum(jnp.sum(average), jnp.finfo(average.dtype).tiny)
    aligned = probability / (average / total + ALIGNMENT_EPSILON)
    return aligned / jnp.sum(aligned, -1, keepdims=True)
