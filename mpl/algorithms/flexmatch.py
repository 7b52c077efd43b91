"""FlexMatch (Zhang et al., arXiv 2110.08263)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss_with_memory
from mpl.models.network import Definition


def make(
    student: Definition,
    weight: float = 1.0,
    threshold: float = 0.95,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """FixMatch with a lower threshold for classes that are learned worse.

    The learning status b of a class is the number of unlabeled images whose last confident
    prediction it is, divided by the greatest such number, or by the number of images without a
    confident prediction so far where that is greater (the paper's warm-up). The threshold of a class
    is threshold * b / (2 - b), the paper's convex mapping, with the status before the step: at first
    every image passes. It assumes balanced unlabeled images.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      threshold: of the class with the greatest status; and of predictions that are counted.
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
        learned = learning_status(memory, prediction.shape[-1])
        mask = confidence >= threshold * (learned / (2 - learned))[own]
        mask = mask.astype(prediction.dtype)
        unlabeled = losses.hard_cross_entropy(own, strong.logits, mask)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(mask),
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
            memory
            | {
                'label': update_labels(
                    memory['label'], batch['unlabeled']['index'], own, confidence >= threshold
                )
            },
        )

    def memory(sizes):
        return {
            'label': jnp.full(
                sizes.examples, -1, jnp.int32
            ),  # of the last confident prediction; -1 for none
            'unlabeled': jnp.array(sizes.unlabeled, jnp.int32),
        }

    return from_loss_with_memory(loss, student, ema_decay, memory)


def learning_status(memory, classes):
    """The learning status of each class, float32 [K] from 0 to 1 (equations 5, 6 and 11)."""
    count = jnp.zeros(classes + 1, jnp.int32).at[memory['label']].add(1)[:classes]
    unseen = memory['unlabeled'] - jnp.sum(count)
    return count / jnp.maximum(jnp.maximum(jnp.max(count), unseen), 1)


def update_labels(label, index, own, confident):
    """The labels [N] with those of confident examples; one twice in the batch gets the greater."""
    place = jnp.where(confident, index, len(label))  # Beyond the end: dropped.
    return label.at[place].set(-1, mode='drop').at[place].max(own.astype(label.dtype), mode='drop')
