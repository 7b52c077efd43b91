"""VICReg (Bardes, Ponce and LeCun, arXiv 2105.04906)."""

import jax.numpy as jnp

from mpl.algorithms import contrast, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """Both views have one embedding, whose dimensions vary over the batch and are not correlated.

    The sum of three terms with their weights (equation 6): squared differences, averaged over B and
    D (equation 5 has their sum over D), and half of the sum over views of `contrast.variance` (equation 6 has the
    sum), both as in the released code; and the sum of `contrast.covariance`. Each view has a pass of its own.

    Args:
      student: the trunk.
      projector: its head, wide and without a last norm.
      invariance_weight, variance_weight, covariance_weight: of the three terms.
      ema_decay, labeled_weight, probe_rate: as in simclr.py.
    """
    chain = {'student': student, 'projector': projector}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views
        )
        a, b = z = outputs['projector']
        invariance = jnp.mean((a - b) ** 2)
        variance = (contrast.variance(a) + contrast.variance(b)) / 2
        covariance = contrast.covariance(a) + contrast.covariance(b)
        value = (
            invariance_weight * invariance
            + variance_weight * variance
            + covariance_weight * covariance
        )
        terms = {
            'loss/invariance': invariance,
            'loss/variance': variance,
            'loss/covariance': covariance,
        }
        return value, (stats, (), terms | contrast.measure(*z))

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
