"""Pi-model (Laine and Aila, arXiv 1610.02242, section 2.1)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward_targets, from_loss
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 10.0,
    two_sided: bool = False,
    ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    target_pass: str = 'separate',
) -> Algorithm:
    """Cross-entropy on the labels, and consistency of two stochastic passes over an image.

    The inputs of the passes are the weak and the strong view, with independent dropout masks. By
    default the prediction of the weak view is a constant target, as in the released FixMatch code,
    from which the weight is too. The paper's form is two_sided=True, with the gradient of both
    passes, and a second weak view as the strong one (`strong=dict(name='identity')`); at equal
    predictions its gradient is twice as large in expectation. The paper's loss is over labeled
    images too: include them in the unlabeled ones (`split.unlabeled_includes_labeled`). The loss is
    0 once predictions are equal, right or wrong, so it adds little with few labels.

    Args:
      student: the network.
      weight: of the squared error, which is averaged over classes.
      two_sided: whether the gradient flows through both predictions.
      ramp_steps: steps of the Gaussian ramp of the weight; 80 of 300 epochs in the paper.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
      target_pass: of the weak views, 'separate', 'joined' or 'averaged', see interface.forward_targets.
    """

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward_targets(
            student, params, net, batch, key, target_pass, two_sided
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        target = jax.nn.softmax(weak.logits)
        if not two_sided:
            target = jax.lax.stop_gradient(target)
        unlabeled = jnp.mean(losses.squared_distance(target, strong.logits))
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
