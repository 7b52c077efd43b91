"""FixMatch (Sohn et al., arXiv 2001.07685)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward_targets, from_loss
from mpl.models.network import Definition


def make(
    student: Definition,
    weight: float = 1.0,
    threshold: float = 0.95,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    target_pass: str = 'separate',
) -> Algorithm:
    """Cross-entropy on the labels, and the weak view's confident class as label of the strong view.

    Images below the threshold have weight 0 in the mean over all images. If few images pass, it is
    close to labels only. Confident errors, as with unknown classes, are trained on as labels.

    Args:
      student: the network.
      weight: of the unlabeled loss.
      threshold: minimum probability of an image's predicted class for the image to count.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
      target_pass: of the weak views, 'separate', 'joined' or 'averaged', see interface.forward_targets.
    """

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward_targets(
            student, params, net, batch, key, target_pass
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        prediction = jax.lax.stop_gradient(jax.nn.softmax(weak.logits))
        mask = (jnp.max(prediction, -1) >= threshold).astype(prediction.dtype)
        unlabeled = losses.hard_cross_entropy(jnp.argmax(prediction, -1), strong.logits, mask)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(mask),
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)
