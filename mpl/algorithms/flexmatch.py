"""FlexMatch (Zhang et al., arXiv 2110.08263)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward_targets, from_loss_with_memory
from mpl.models.network import Definition


def make(
    student: Definition,
    weight: float = 1.0,
    threshold: float = 0.95,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    target_pass: str = 'separate',
) -> Algorithm:
    """FixMatch with a lower threshold for classes with fewer confident predictions.

    The learning status b of a class is the number of unlabeled images whose last confident
    prediction it is, divided by the largest such count, or by the number of images without a
    confident prediction so far if that is larger (the paper's warm-up). The threshold of a class is
    threshold * b / (2 - b), the paper's convex mapping, with the status before the step. At first
    all images pass. It assumes balanced unlabeled images.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      threshold: of the class with the highest status, and of the predictions that are counted.
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
        status = learning_status(memory, prediction.shape[-1])
        mask = confidence >= threshold * (status / (2 - status))[predicted]
        mask = mask.astype(prediction.dtype)
        unlabeled = losses.hard_cross_entropy(predicted, strong.logits, mask)
        index = batch['unlabeled']['index']
        last = update_labels(memory['label'], index, predicted, confidence >= threshold)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(mask),
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
            memory | {'label': last},
        )

    def memory(sizes):
        return {
            # Class of the last confident prediction of each example; -1 before the first one.
            'label': jnp.full(sizes.examples, -1, jnp.int32),
            'unlabeled': jnp.array(sizes.unlabeled, jnp.int32),
        }

    return from_loss_with_memory(loss, student, ema_decay, memory)


def learning_status(memory, classes):
    """The learning status of each class, float32 [K] from 0 to 1 (equations 5, 6 and 11)."""
    count = jnp.zeros(classes + 1, jnp.int32).at[memory['label']].add(1)[:classes]
    unlabeled = memory['unlabeled'] - jnp.sum(count)  # without a confident prediction so far
    return count / jnp.maximum(jnp.maximum(jnp.max(count), unlabeled), 1)


def update_labels(label, index, predicted, confident):
    """The labels [N] with the classes that are predicted for confident examples of the batch.

    label: int32 [N]; index, predicted: int32 [B]; confident: bool [B]. If an example is in the
    batch twice, it gets the larger class.
    """
    place = jnp.where(confident, index, len(label))  # Out of bounds: dropped.
    predicted = predicted.astype(label.dtype)
    return label.at[place].set(-1, mode='drop').at[place].max(predicted, mode='drop')
