"""MoCo v3 (Chen, Xie and He, arXiv 2104.02057)."""

from mpl.algorithms import contrast, losses, pretraining, target_network
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    predictor: Definition,
    temperature: float = 1.0,
    ema_decay: float = 0.99,
    ema_steps: int = 0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """InfoNCE of the prediction of each view and the averaged network's key of the other view.

    There is no queue: positives and negatives are keys of one pass over the batch, so its batch statistics do
    not set the positive apart. The loss is 2 temperature times the sum over both directions (algorithm 1 of the
    paper).

    Args:
      student: the trunk.
      projector: its head, with an affine-free last norm in the released code.
      predictor: on the projector's output, of the same size.
      temperature: of the cosines; 1 for ResNets and 0.2 for vision transformers in the released
        code.
      ema_decay: decay of the averages of trunk and projector at first; above 0.
      ema_steps: steps over which it rises to 1 by a cosine; 0 for a constant decay.
      labeled_weight, probe_rate: as in simclr.py.

    Raises:
      ValueError: ema_decay is 0.
    """
    losses.check_temperature('temperature', temperature)
    chain = {'student': student, 'projector': projector, 'predictor': predictor}
    average = target_network.average(ema_decay, ema_steps)
    online = {role: chain[role] for role in average.roles}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views
        )
        q, k = outputs['predictor'], target_network.encode(online, state, key, 'batch', *views)
        one, accuracy = contrast.among_batch(q[0], k[1], temperature)
        other, _ = contrast.among_batch(q[1], k[0], temperature)
        metrics = {'accuracy/pairs': accuracy} | contrast.measure(*outputs['projector'])
        return 2 * temperature * (one + other), (stats, (), metrics)

    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
