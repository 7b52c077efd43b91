"""Noisy Student (Xie et al., arXiv 1911.04252)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss
from mpl.models.network import Definition


def make(
    student: Definition,
    labels: str = 'soft',
    temperature: float = 1.0,
    weight: float = 1.0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and on a trained teacher's pseudo-labels of the unlabeled images.

    The section `teacher` of the config computes the teacher's logits once, before the run and
    without noise, drops images of low confidence and balances classes. The student, at least as
    large, is trained with noise: strong views (of labeled images too with views.labeled='strong'),
    dropout and stochastic depth of its model. For further rounds the teacher's config has a teacher
    itself. The pseudo-labels are constant, so the student reproduces the teacher's confident errors.
    Without noise, or with too small a student, it does not improve on the teacher.

    Args:
      student: the network.
      labels: the teacher's pseudo-labels, 'soft' probabilities or 'hard' classes.
      temperature: of the soft labels; above 1 softens.
      weight: of the unlabeled loss; in the released code the ratio of unlabeled to labeled images
        in a batch.
      label_smoothing: share of each true or hard label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.

    Raises:
      ValueError: unknown kind of labels, or a temperature outside of [1e-4, 1e4].
    """
    losses.check_temperature('temperature', temperature)
    losses.check_choice('labels', labels, ('soft', 'hard'))

    def loss(params, net, batch, step, key):
        label, teacher_logits = batch['labeled']['label'], batch['unlabeled']['logits']
        (labeled, strong), batch_stats = forward(student, params, net, batch, key, 'strong')
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        if labels == 'soft':
            target = jax.nn.softmax(teacher_logits / temperature)
            unlabeled = losses.cross_entropy(strong.logits, target)
        else:
            target = jnp.argmax(teacher_logits, -1)
            unlabeled = losses.cross_entropy(strong.logits, target, label_smoothing)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)
