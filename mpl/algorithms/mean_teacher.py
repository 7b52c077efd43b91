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
    """Cross-entropy on the labels, and consistency with the average of the network's weights.

    The input of the student is the strong view; that of the teacher, the average before the step, is
    the weak view. The teacher's pass is in training mode: batch statistics of the weak views, and
    dropout. Its running statistics are averages of the student's. The decay rises as in
    `network.update`, min(ema_decay, (1 + t) / (10 + t)); in the paper's code it is
    min(ema_decay, 1 - 1 / (t + 1)). The default weight is that of the released FixMatch code; the
    paper's code recommends K to K^2 for K classes. It fails if the average lags (few steps, high
    decay), or if the weight is large before the labels are fitted.

    Args:
      student: the network.
      weight: of the squared error of probabilities, which is averaged over classes.
      ramp_steps: steps of the Gaussian ramp of the weight.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights, which is the teacher; above 0.

    Raises:
      ValueError: ema_decay is 0.
    """
    if not ema_decay:
        raise ValueError('algorithm.ema_decay is 0; give the decay of the teacher, such as 0.999.')

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        teacher_key, key = jax.random.split(key)
        (labeled, strong), batch_stats = forward(student, params, net, batch, key, 'strong')
        (teacher,), _ = network.forward(
            student,
            net.ema.params,
            net.ema.batch_stats,
            teacher_key,
            batch['unlabeled']['weak'],
        )
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        target = jax.nn.softmax(teacher.logits)
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
