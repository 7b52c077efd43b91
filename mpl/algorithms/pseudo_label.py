"""Pseudo-label (Lee, ICML 2013 workshop): confident predictions of the network as labels."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 1.0,
    threshold: float = 0.95,
    wait_steps: int = 0,
    ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and on the network's own confident argmax.

    This is the form with a threshold that the FixMatch paper (arXiv 2001.07685) compares with: weak
    views only, and the mean over all unlabeled images, where those below the threshold have weight
    0. With threshold 0 it is Lee's first form, whose weight is 0 for 100 epochs and then rises to 3
    within 500. Confident errors reinforce themselves.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      threshold: minimum probability of an image's predicted class for the image to count.
      wait_steps: first steps, in which the weight is 0.
      ramp_steps: steps after these over which the weight rises linearly from 0.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
    """

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak), batch_stats = forward(student, params, net, batch, key, 'weak')
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        prediction = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        mask = (jnp.max(prediction, -1) >= threshold).astype(prediction.dtype)
        unlabeled = losses.hard_cross_entropy(jnp.argmax(prediction, -1), weak.logits, mask)
        total = supervised + weight * schedules.ramp(step, ramp_steps, wait_steps) * unlabeled
        return total, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(mask),
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)
