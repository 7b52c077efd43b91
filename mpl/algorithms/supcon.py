"""Supervised contrast (Khosla et al., arXiv 2004.11362) beside SimCLR on the unlabeled images."""

from mpl.algorithms import contrast, losses, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    temperature: float = 0.1,
    weight: float = 1.0,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """Labeled images are near others of their class; unlabeled ones are as in SimCLR.

    A labeled image has one view here, and its positives are the other images of its class in the
    batch; in the paper, where all images have labels, its own second view is a positive too. Those
    pairs are the unlabeled images' part here, labeled images among them with
    split.unlabeled_includes_labeled. It needs a batch.labeled of several images of each class;
    views.labeled='strong' gives them the colors of a pair.

    Args:
      student: the trunk.
      projector: the head whose outputs are compared.
      temperature: of the cosines.
      weight: of the labeled images' contrast.
      ema_decay, labeled_weight, probe_rate: as in simclr.py.
    """
    losses.check_temperature('temperature', temperature)
    chain = {'student': student, 'projector': projector}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        labeled = batch['labeled']
        outputs, stats = pretraining.forward(
            chain,
            params,
            pretraining.statistics(state),
            key,
            *views,
            labeled['image'],
            joined=True,
        )
        *z, of_labeled = outputs['projector']
        pairs, accuracy = contrast.among_pairs(*z, temperature)
        classes = contrast.among_labels(of_labeled, labeled['label'], temperature)
        metrics = {'loss/classes': classes, 'loss/pairs': pairs, 'accuracy/pairs': accuracy}
        return pairs + weight * classes, (stats, (), metrics | contrast.measure(*z))

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
