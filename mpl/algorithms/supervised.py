"""Labels only: the baseline beside which every other number stands."""

from mpl import losses, network
from mpl.algorithm import Algorithm, from_loss
from mpl.network import Definition


def make(student: Definition, label_smoothing: float = 0.0, ema_decay: float = 0.0) -> Algorithm:
    """Cross-entropy on the labeled images.

    Args:
      student: the network.
      label_smoothing: part of each target spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.
    """

    def loss(params, net, batch, step, key):
        del step
        image, label = batch['labeled']['image'], batch['labeled']['label']
        (labeled,), batch_stats = network.forward(student, params, net.batch_stats, key, image)
        total = losses.cross_entropy(labeled.logits, label, label_smoothing)
        return total, (
            batch_stats,
            {'loss/labeled': total, 'accuracy/batch': losses.accuracy(labeled.logits, label)},
        )

    return from_loss(loss, student, ema_decay)
