"""SimCLR (Chen et al., arXiv 2002.05709)."""

from mpl.algorithms import contrast, losses, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    temperature: float = 0.2,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """NT-Xent: each view has to find the other view of its image among all views of the batch, by cosine.

    Both views share one pass and its batch statistics, those of the global batch. Large batches
    have more negatives, and a lower temperature weights the nearest ones more. It fails if views
    can be matched by color alone (jitter too weak).

    Args:
      student: the trunk.
      projector: the head whose outputs are compared; discarded after training.
      temperature: of the cosines.
      ema_decay: decay of the average of the trunk's weights; 0 keeps no average.
      labeled_weight: of the cross-entropy on the labels; 0 trains only a probe on fixed features.
      probe_rate: learning rate of this probe.
    """
    losses.check_temperature('temperature', temperature)
    chain = {'student': student, 'projector': projector}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views, joined=True
        )
        z = outputs['projector']
        value, accuracy = contrast.among_pairs(*z, temperature)
        return value, (stats, (), {'accuracy/pairs': accuracy} | contrast.measure(*z))

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
