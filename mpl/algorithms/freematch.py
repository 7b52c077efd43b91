"""FreeMatch (Wang et al., arXiv 2205.07246)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward_targets, from_loss_with_memory
from mpl.models import network
from mpl.models.network import Definition

LEAST_SHARE = 1e-30


def make(
    student: Definition,
    weight: float = 1.0,
    fairness_weight: float = 0.01,
    memory_decay: float = 0.999,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    target_pass: str = 'separate',
) -> Algorithm:
    """FixMatch with adaptive thresholds, and a fairness loss that balances classes.

    The threshold of a class is the average confidence, times the average probability of the class
    relative to that of the most probable class (section 4.1). Averages include the current step. The
    fairness loss (4.2) is minus the cross-entropy of two distributions, each divided by the
    histogram of its classes and normalized: the average weak prediction, and the mean strong
    prediction of the images that pass. It assumes balanced unlabeled images. Averages start at
    1 / K, as in the paper (at 1 in its code, USB).

    Args:
      student: the network.
      weight: of the unlabeled loss.
      fairness_weight: of the fairness loss; the paper uses 0.001 to 0.05.
      memory_decay: decay of the averages; 1 keeps them at 1 / K, and every image passes.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
      target_pass: of the weak views, 'separate', 'joined' or 'averaged', see interface.forward_targets.
    """

    def loss(params, net, memory, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward_targets(
            student, params, net, batch, key, target_pass
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        prediction = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        confidence, predicted = jnp.max(prediction, -1), jnp.argmax(prediction, -1)
        current = {
            'confidence': jnp.mean(confidence),
            'probability': jnp.mean(prediction, 0),
            'histogram': histogram(prediction, jnp.ones_like(confidence)),
        }
        memory = network.average(memory_decay, memory, current)
        relative = memory['probability'] / jnp.max(memory['probability'])
        mask = (confidence >= memory['confidence'] * relative[predicted]).astype(prediction.dtype)
        unlabeled = losses.hard_cross_entropy(predicted, strong.logits, mask)
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
        uniform = jnp.full(sizes.classes, 1 / sizes.classes, jnp.float32)
        return {'confidence': uniform[0], 'probability': uniform, 'histogram': uniform}

    return from_loss_with_memory(loss, student, ema_decay, memory)


def histogram(probability, mask):
    """The share of each class among the argmax of probability [B, K], where mask [B] is 1."""
    predicted = jax.nn.one_hot(jnp.argmax(probability, -1), probability.shape[-1])
    return mask @ predicted / jnp.maximum(jnp.sum(mask), 1)


def fairness_loss(memory, probability, mask):
    """Minus the cross-entropy of two balanced means (equation 12); 0 if the mask is all 0."""
    mean = mask @ probability / jnp.maximum(jnp.sum(mask), 1)
    target = _balance(memory['probability'], memory['histogram'])
    balanced = _balance(mean, jax.lax.stop_gradient(histogram(probability, mask)))
    return jnp.any(mask > 0) * jnp.sum(target * jnp.log(balanced + 1e-12))


def _balance(mean, share):
    """mean / share, normalized; 0 for classes without a share.

    The moving average of the share of a class that is no longer predicted decays towards 0. Below
    LEAST_SHARE it counts as 0, so that no quotient, and no sum of quotients, overflows.
    """
    ratio = jnp.where(share > LEAST_SHARE, mean / jnp.maximum(share, LEAST_SHARE), 0)
    total = jnp.sum(ratio)
    return ratio / jnp.where(total > 0, total, 1)
