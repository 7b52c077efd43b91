"""MoBY (Xie et al., arXiv 2105.04553): momentum contrast in the form of BYOL."""

from collections.abc import Callable

from mpl.algorithms import contrast, losses, pretraining, queues, target_network
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    predictor: Definition,
    queue: int = 4096,
    temperature: float = 0.2,
    keys: str = 'averaged',
    ema_decay: float = 0.99,
    ema_steps: int = 0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """InfoNCE of the prediction of each view and the averaged network's key of the other view.

    There are two queues of negatives, one for the keys of each view, and the losses of both directions are added
    (section 3). See moco.py for the statistics of the keys' pass: the networks of the paper have
    batch norm in their heads alone, where the keys have those of their batch.

    Args:
      student: the trunk.
      projector: its head.
      predictor: on the projector's output, of the same size.
      queue, temperature, keys: as in moco.py.
      ema_decay: decay of the averages of trunk and projector at first; above 0.
      ema_steps: steps over which it rises to 1 by a cosine; 0 for a constant decay.
      labeled_weight, probe_rate: as in simclr.py.

    Raises:
      ValueError: as in moco.py.
    """
    losses.check_temperature('temperature', temperature)
    chain = {'student': student, 'projector': projector, 'predictor': predictor}
    average = target_network.average(ema_decay, ema_steps)
    loss = make_loss(chain, average, temperature, keys)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    memory = queues.make_memory(queue, count=2)
    return pretraining.from_loss(loss, chain, average, labels, memory)


def make_loss(
    chain: pretraining.Chain, average: pretraining.Average, temperature: float, keys: str
) -> Callable:
    """The loss of `make`, as pretraining.from_loss takes it; its memory are two queues."""
    losses.check_choice('keys', keys, target_network.STATISTICS)
    online = {role: chain[role] for role in average.roles}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views
        )
        k = target_network.encode(online, state, key, keys, *views)
        value, memory, accuracy = queues.both_directions(
            outputs['predictor'], k, batch['unlabeled']['index'], state.memory, temperature
        )
        metrics = {'accuracy/pairs': accuracy} | contrast.measure(*outputs['projector'])
        return value, (stats, memory, metrics)

    return loss
