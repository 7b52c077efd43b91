"""Pi-model (Laine and Aila, arXiv 1610.02242, section 2.1)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 10.0,
    two_sided: bool = False,
    ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and equal predictions for two noisy passes of an image.

    The passes see the two views and drop different units. By default the prediction of the weak
    view is a constant target, as in the released FixMatch code (as is the weight). The paper's
    rule is two_sided=True, which has the gradient of both passes, with strong views that are weak
    views drawn again (`strong=dict(name='identity')`); at equal predictions its gradient is twice
    as large in expectation. The paper's term is over labeled images too: draw them among the
    unlabeled ones (`split.unlabeled_includes_labeled`). The term vanishes once predictions are
    equal, right or wrong: with few labels it adds little.

    Args:
      student: the network.
      weight: of the distance, in which classes are averaged.
      two_sided: whether the gradient flows through both predictions.
      ramp_steps: over which the weight rises as a Gaussian; 80 of 300 epochs in the paper.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.
    """

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        (labeled, one, other), batch_stats = forward(
            student, params, net, batch, key, 'weak', 'strong'
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        target = jax.nn.softmax(one.logits)
        if not two_sided:
            target = jax.lax.stop_gradient(target)
        unlabeled = jnp.mean(losses.squared_distance(target, other.logits))
        total = supervised + weight * schedules.gaussian_ramp(step, ramp_steps) * unlabeled
        return total, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)
