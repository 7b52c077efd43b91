"""Mean teacher (Tarvainen and Valpola, arXiv 1703.01780)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss
from mpl.models import network
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 50.0,
    ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.999,
) -> Algorithm:
    """Cross-entropy on the labels, and agreement with the average of the network's weights.

    The student sees the strong view, the teacher, which is the average before the step, the weak
    one. The teacher is noisy too: its batch statistics are those of the weak views, and units are
    dropped. Its running statistics are averages of the student's. The decay rises as in
    `network.update`, min(ema_decay, (1 + t) / (10 + t)); in the paper's code it is
    min(ema_decay, 1 - 1 / (t + 1)). The weight is that of the released FixMatch code; the paper's
    code recommends one between K and K^2 for K classes. Fails where the average lags (few steps,
    high decay), and where a large weight comes before the labels are learned.

    Args:
      student: the network.
      weight: of the squared distance of probabilities, in which classes are averaged.
      ramp_steps: over which the weight rises as a Gaussian.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the weights, the teacher; above 0.

    Raises:
      ValueError: ema_decay is 0.
    """
    if not ema_decay:
        raise ValueError('ema_decay is 0; give the decay of the teacher, such as 0.999.')

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        teacher_key, key = jax.random.split(key)
        (labeled, own), batch_stats = forward(student, params, net, batch, key, 'strong')
        (teacher,), _ = network.forward(
            student,
            net.ema.params,
            net.ema.batch_stats,
            teacher_key,
            batch['unlabeled']['weak'],
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        target = jax.nn.softmax(teacher.logits)
        unlabeled = jnp.mean(losses.squared_distance(target, own.logits))
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
