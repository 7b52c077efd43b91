"""Supervised training on the labels only: the baseline."""

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss
from mpl.models.network import Definition


def make(student: Definition, label_smoothing: float = 0.0, ema_decay: float = 0.0) -> Algorithm:
    """Cross-entropy on the labeled images.

    Args:
      student: the network.
      label_smoothing: share of each label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
    """

    def loss(params, net, batch, step, key):
        del step
        label = batch['labeled']['label']
        (labeled,), batch_stats = forward(student, params, net, batch, key)
        total = losses.cross_entropy(labeled.logits, label, label_smoothing)
        return total, (
            batch_stats,
            {'loss/labeled': total, 'accuracy/batch': losses.accuracy(labeled.logits, label)},
        )

    return from_loss(loss, student, ema_decay)
