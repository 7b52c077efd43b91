"""BYOL, Bootstrap Your Own Latent (Grill et al., arXiv 2006.07733)."""

from mpl.algorithms import contrast, losses, pretraining, target_network
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    predictor: Definition,
    targets: str = 'batch',
    ema_decay: float = 0.99,
    ema_steps: int = 0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """The predicted embedding of a view approaches the averaged network's of the other view.

    The loss is the sum of 2 - 2 cosine over both directions (equation 2), from 0 to 8. Each view has a
    pass of its own, also for the targets.

    Args:
      student: the trunk.
      projector: its head.
      predictor: on the projector's output, of the same size.
      targets: statistics of the targets' pass: 'batch', those of their view, as in the released code; or
        'averaged' (EMAN, arXiv 2101.08482). docs/self_supervised.md compares them.
      ema_decay: decay of the averages of trunk and projector at first; above 0.
      ema_steps: steps over which it rises to 1 by a cosine; 0 for a constant decay.
      labeled_weight, probe_rate: as in simclr.py.

    Raises:
      ValueError: ema_decay is 0, or an unknown kind of targets.
    """
    losses.check_choice('targets', targets, target_network.STATISTICS)
    chain = {'student': student, 'projector': projector, 'predictor': predictor}
    average = target_network.average(ema_decay, ema_steps)
    online = {role: chain[role] for role in average.roles}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views
        )
        p, target = outputs['predictor'], target_network.encode(online, state, key, targets, *views)
        value = 4 - 2 * (contrast.cosine(p[0], target[1]) + contrast.cosine(p[1], target[0]))
        return value, (stats, (), contrast.measure(*outputs['projector']))

    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
