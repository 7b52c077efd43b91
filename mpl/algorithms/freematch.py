"""FreeMatch (Wang et al., arXiv 2205.07246)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss_with_memory
from mpl.models.network import Definition

LEAST_SHARE = 1e-30


def make(
    student: Definition,
    weight: float = 1.0,
    fairness_weight: float = 0.01,
    memory_decay: float = 0.999,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """FixMatch with thresholds that follow the network's confidence, and classes kept in balance.

    The threshold of a class is the average confidence, times the average probability of the class
    relative to the greatest (section 4.1), with averages that include the present step. The
    fairness term (4.2) is minus the cross-entropy of two distributions, each divided by the
    histogram of its classes and normalized: the average weak prediction, and the mean strong one
    of the images that pass. It assumes balanced unlabeled images. Averages start at 1 / K, as in
    the paper (its code, USB, starts them at 1).

    Args:
      student: the network.
      weight: of the unlabeled loss.
      fairness_weight: of the fairness term; .001 to .05 were used.
      memory_decay: of the averages; 1 keeps them at 1 / K, and every image passes.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.
    """

    def loss(params, net, memory, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward(
            student, params, net, batch, key, 'weak', 'strong'
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        prediction = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        confidence, own = jnp.max(prediction, -1), jnp.argmax(prediction, -1)
        seen = {
            'confidence': jnp.mean(confidence),
            'probability': jnp.mean(prediction, 0),
            'histogram': histogram(prediction, jnp.ones_like(confidence)),
        }
        memory = jax.tree.map(lambda m, s: m + (1 - memory_decay) * (s - m), memory, seen)
        relative = memory['probability'] / jnp.max(memory['probability'])
        mask = (confidence >= memory['confidence'] * relative[own]).astype(prediction.dtype)
        unlabeled = losses.hard_cross_entropy(own, strong.logits, mask)
        fairness = fairness_loss(memory, jax.nn.softmax(strong.logits), mask)
        return supervised + weight * unlabeled + fairness_weight * fairness, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'loss/fairness': fairness,
                'mask_rate': jnp.mean(mask),
                'threshold': memory['confidence'],
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
            memory,
        )

    def memory(sizes):
        even = jnp.full(sizes.classes, 1 / sizes.classes, jnp.float32)
        return {'confidence': even[0], 'probability': even, 'histogram': even}

    return from_loss_with_memory(loss, student, ema_decay, memory)


def histogram(probability, mask):
    """The share of each class among the greatest of probability [B, K], where mask [B] is 1."""
    own = jax.nn.one_hot(jnp.argmax(probability, -1), probability.shape[-1])
    return mask @ own / jnp.maximum(jnp.sum(mask), 1)


def fairness_loss(memory, probability, mask):
    """Minus the cross-entropy of two balanced means (equation 12); 0 where the mask is empty."""
    mean = mask @ probability / jnp.maximum(jnp.sum(mask), 1)
    target = _balance(memory['probability'], memory['histogram'])
    balanced = _balance(mean, jax.lax.stop_gradient(histogram(probability, mask)))
    return jnp.any(mask > 0) * jnp.sum(target * jnp.log(balanced + 1e-12))


def _balance(mean, share):
    """mean / share, of sum 1; 0 for classes without a share.

    A share that is a moving average falls towards 0 in a class that is no longer predicted;
    below LEAST_SHARE it counts as 0, so that no quotient, and no sum of them, overflows.
    """
    ratio = jnp.where(share > LEAST_SHARE, mean / jnp.maximum(share, LEAST_SHARE), 0)
    total = jnp.sum(ratio)
    return ratio / jnp.where(total > 0, total, 1)
