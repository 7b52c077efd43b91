"""SoftMatch (Chen et al., arXiv 2301.10921)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, remembering
from mpl.models.network import Definition


def make(
    student: Definition,
    weight: float = 1.0,
    deviations: float = 2.0,
    align: bool = True,
    memory_decay: float = 0.999,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """FixMatch with weights in place of a threshold: a Gaussian of the confidence under its mean.

    Confidences above their average count fully; average and variance are those of the past
    steps. Weights are taken of predictions aligned with balanced classes, labels are not.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      deviations: n, how many fit in one standard deviation: sigma / n is the width.
      align: whether predictions are divided by their average first, for the weights.
      memory_decay: of the averages.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.
    """

    def loss(params, net, memory, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward(
            student, params, net, batch, key, 'weak', 'strong'
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        guess = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        # From zero: only the shares of the classes matter, so that the start needs no correction.
        average = memory['average'] + (1 - memory_decay) * (jnp.mean(guess, 0) - memory['average'])
        aligned = guess / average if align else guess
        confidence = jnp.max(aligned / jnp.sum(aligned, -1, keepdims=True), -1)
        mean, variance = (
            old + (1 - memory_decay) * (new - old)
            for old, new in (
                (memory['mean'], jnp.mean(confidence)),
                (memory['variance'], jnp.var(confidence, ddof=1)),
            )
        )
        under = jnp.minimum(confidence - mean, 0)
        share = jnp.exp(-(under**2) * deviations**2 / (2 * variance))
        unlabeled = losses.hard(jnp.argmax(guess, -1), strong.logits, share)
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
            'average': jnp.zeros(sizes.classes, jnp.float32),  # of predictions
            'mean': jnp.array(1 / sizes.classes, jnp.float32),  # of confidences
            'variance': jnp.array(1.0, jnp.float32),
        }

    return remembering(loss, student, ema_decay, memory)
