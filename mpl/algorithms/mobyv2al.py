"""MoBYv2AL (Caramalau et al., arXiv 2301.01531): MoBY and a classifier, trained jointly."""

from mpl.algorithms import losses, moby, pretraining, queues, target_network
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    predictor: Definition,
    contrast_weight: float = 0.5,
    queue: int = 4096,
    temperature: float = 0.2,
    keys: str = 'averaged',
    ema_decay: float = 0.99,
    ema_steps: int = 0,
) -> Algorithm:
    """Cross-entropy on the labels, and MoBY's loss on the unlabeled images, in one step.

    The paper has labeled and unlabeled batches in turn, and the contrast on both; here the labeled
    images have it as part of the unlabeled ones (split.unlabeled_includes_labeled). It compares a
    weak with a strong view, views.first=dict(name='identity'), and the classifier learns from weak
    ones, views.labeled='weak'. Both passes are of one network; queues are changed in training
    alone.

    Args:
      student: the trunk, whose last layer is the classifier.
      projector: its head, in the paper one layer.
      predictor: on the projector's output, of the same size.
      contrast_weight: of MoBY's loss.
      queue, temperature, keys: as in moco.py.
      ema_decay: decay of the averages of trunk and projector at first; above 0.
      ema_steps: steps over which it rises to 1 by a cosine; 0 for a constant decay.

    Raises:
      ValueError: as in moco.py.
    """
    losses.check_temperature('temperature', temperature)
    chain = {'student': student, 'projector': projector, 'predictor': predictor}
    average = target_network.average(ema_decay, ema_steps)
    loss = moby.make_loss(chain, average, temperature, keys)

    def weighted(params, state, batch, step, key):
        value, rest = loss(params, state, batch, step, key)
        return contrast_weight * value, rest

    labels = pretraining.Labels(weight=1.0, rate=0.0)
    memory = queues.make_memory(queue, count=2)
    return pretraining.from_loss(weighted, chain, average, labels, memory)
