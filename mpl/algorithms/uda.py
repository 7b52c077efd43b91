"""Unsupervised Data Augmentation (Xie et al., arXiv 1904.12848)."""

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward_targets, from_loss
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 1.0,
    temperature: float = 0.4,
    threshold: float = 0.8,
    mask_sharpened: bool = False,
    ramp_steps: int = 0,
    annealing: str = 'none',
    annealing_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    target_pass: str = 'separate',
) -> Algorithm:
    """Cross-entropy on the labels, and consistency of strong with weak views.

    The default temperature and threshold are those of the released code for CIFAR-10. It fails if
    strong views change the class, or if no image passes the threshold.

    Args:
      student: the network.
      weight: of the consistency loss.
      temperature: of the weak view's prediction; below 1 sharpens.
      threshold: minimum probability, before sharpening, for an image to count.
      mask_sharpened: compare the sharpened probability with the threshold instead, as MPL does.
      ramp_steps: steps over which the weight rises linearly from 0.
      annealing: training signal annealing: the schedule of the probability above which a label is
        left out: 'none', 'linear', 'log' or 'exp', see schedules.signal_annealing.
      annealing_steps: steps over which this probability rises to 1.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
      target_pass: of the weak views, 'separate', 'joined' or 'averaged', see interface.forward_targets.

    Raises:
      ValueError: a temperature outside of [1e-4, 1e4], or an unknown annealing.
    """
    losses.check_temperature('temperature', temperature)
    losses.check_choice('annealing', annealing, ('none', *schedules.ANNEALING))

    def loss(params, net, batch, step, key):
        label = batch['labeled']['label']
        (labeled, weak, strong), batch_stats = forward_targets(
            student, params, net, batch, key, target_pass
        )
        if annealing == 'none':
            supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        else:
            classes = labeled.logits.shape[-1]
            most = schedules.signal_annealing(step, annealing_steps, annealing, classes)
            supervised = losses.annealed_cross_entropy(labeled.logits, label, label_smoothing, most)
        unlabeled, mask_rate = losses.uda(
            weak.logits, strong.logits, temperature, threshold, mask_sharpened
        )
        total = supervised + weight * schedules.ramp(step, ramp_steps) * unlabeled
        return total, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': mask_rate,
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)
