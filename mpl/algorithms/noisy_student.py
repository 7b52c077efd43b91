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

    The teacher's logits are computed once, before the run and without noise, by the section
    `teacher` of the config, which also drops images of low confidence and balances classes. The
    student, at least as large, is trained under noise: strong views (of labeled images too with
    views.labeled='strong'), dropout and stochastic depth of its model. Further rounds are teachers
    with teachers of their own. The pseudo-labels never change in a run: the student learns the
    teacher's confident errors, and without noise, or with too small a student, it does not improve
    on the teacher.

    Args:
      student: the network.
      labels: of the teacher, 'soft' probabilities or 'hard' classes.
      temperature: of the soft ones; above 1 softens.
      weight: of the unlabeled loss; in the released code as many as there are unlabeled images
        for each labeled one.
      label_smoothing: part of each true or hard label spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.

    Raises:
      ValueError: labels are of no such kind, or a temperature outside of [1e-4, 1e4].
    """
    losses.check_temperature('temperature', temperature)
    if labels not in ('soft', 'hard'):
        raise ValueError(f"labels is {labels!r}; give 'soft' or 'hard'.")

    def loss(params, net, batch, step, key):
        label, given = batch['labeled']['label'], batch['unlabeled']['logits']
        (labeled, strong), batch_stats = forward(student, params, net, batch, key, 'strong')
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        if labels == 'soft':
            unlabeled = losses.cross_entropy(strong.logits, jax.nn.softmax(given / temperature))
        else:
            unlabeled = losses.cross_entropy(strong.logits, jnp.argmax(given, -1), label_smoothing)
        return supervised + weight * unlabeled, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)
