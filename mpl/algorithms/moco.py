"""MoCo, versions 1 and 2 (He et al., arXiv 1911.05722; Chen et al., arXiv 2003.04297)."""

from mpl.algorithms import contrast, losses, pretraining, queues, target_network
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    queue: int = 4096,
    temperature: float = 0.2,
    keys: str = 'averaged',
    ema_decay: float = 0.99,
    ema_steps: int = 0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """InfoNCE of a query and the averaged network's key of its other view; earlier keys are the negatives.

    The keys of the last images are in a queue; those of the query's own image are left out. A query and its key come from one batch, and all
    other keys from other batches, so batch statistics, global ones above all, tell the positive
    from the negatives. Keys by the averaged network in evaluation mode, with averaged statistics
    (EMAN, arXiv 2101.08482), have no statistics of the batch; the original code divides the batch
    among devices and shuffles it instead.

    Args:
      student: the trunk.
      projector: its head, whose outputs are compared.
      queue: number of keys, a multiple of batch.unlabeled, and at most the number of unlabeled
        images.
      temperature: of the cosines.
      keys: statistics of the keys' pass: 'averaged', or 'batch', for networks without batch norm.
      ema_decay: decay of the averages of trunk and projector at first; above 0.
      ema_steps: steps over which it rises to 1 by a cosine; 0 for a constant decay.
      labeled_weight, probe_rate: as in simclr.py.

    Raises:
      ValueError: ema_decay is 0, or an unknown kind of keys; by `init`, a queue of another size.
    """
    losses.check_temperature('temperature', temperature)
    losses.check_choice('keys', keys, target_network.STATISTICS)
    chain = {'student': student, 'projector': projector}
    average = target_network.average(ema_decay, ema_steps)

    def loss(params, state, batch, step, key):
        query, other = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, query
        )
        (q,) = outputs['projector']
        (k,) = target_network.encode(chain, state, key, keys, other)
        (earlier,) = state.memory
        index = batch['unlabeled']['index']
        value, accuracy = queues.among_earlier(q, k, index, earlier, temperature)
        metrics = {'accuracy/pairs': accuracy} | contrast.measure(q, k)
        return value, (stats, (queues.push(earlier, k, index),), metrics)

    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels, queues.make_memory(queue))
