"""SimSiam (Chen and He, arXiv 2011.10566)."""

import jax

from mpl.algorithms import contrast, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    predictor: Definition,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """The predicted embedding of a view approaches the other view's, which has no gradient.

    Each view has a pass of its own. There are no negatives and no averaged target; without the
    stop-gradient all embeddings become one. The predictor's rate is constant in the released code
    (section 4.2): give its optimizer schedule='constant'.

    Args:
      student: the trunk.
      projector: its head, in the paper with norm after each layer and an affine-free last one.
      predictor: on the projector's output, of the same size, with a bottleneck.
      ema_decay, labeled_weight, probe_rate: as in simclr.py.
    """
    chain = {'student': student, 'projector': projector, 'predictor': predictor}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views
        )
        z, p = outputs['projector'], outputs['predictor']
        target = jax.lax.stop_gradient(z)
        value = -(contrast.cosine(p[0], target[1]) + contrast.cosine(p[1], target[0])) / 2
        return value, (stats, (), contrast.measure(*z))

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
