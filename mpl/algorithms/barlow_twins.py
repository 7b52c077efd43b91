"""Barlow Twins (Zbontar et al., arXiv 2103.03230)."""

from mpl.algorithms import contrast, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    redundancy_weight: float = 0.0051,
    scale: float = 1.0,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """The correlations of the two views' embeddings over the batch approach the identity matrix.

    Each view has a pass of its own.

    Args:
      student: the trunk.
      projector: its head, wide and without a last norm.
      redundancy_weight: of the squared correlations of different dimensions (equation 1).
      scale: of the whole loss, which is a sum over dimensions; 0.1 in common recipes for CIFAR.
      ema_decay, labeled_weight, probe_rate: as in simclr.py.
    """
    chain = {'student': student, 'projector': projector}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views
        )
        z = outputs['projector']
        correlation = contrast.cross_correlation(*z)
        value = scale * contrast.redundancy(correlation, redundancy_weight)
        return value, (stats, (), contrast.measure(*z))

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
