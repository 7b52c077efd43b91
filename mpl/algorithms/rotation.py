"""Prediction of rotations (Gidaris, Singh and Komodakis, arXiv 1803.07728)."""

from mpl.algorithms import pretext, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    classifier: Definition,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """Which of four rotations an image has: each image is in the batch with all four, in one pass.

    It needs images with a canonical orientation: not textures, cells or aerial images, and a 6 is a 9 upside down. The best
    features are often those of a middle layer (mpl.probe --layer).

    Args:
      student: the trunk.
      classifier: the head on its features, four outputs.
      ema_decay: decay of the average of the trunk's weights; 0 keeps no average.
      labeled_weight: of the cross-entropy on the labels; 0 trains only a probe on fixed features.
      probe_rate: learning rate of this probe.
    """
    chain = {'student': student, 'classifier': classifier}

    def loss(params, state, batch, step, key):
        (image,) = pretraining.views(batch, 'view_0')
        outputs, stats = pretraining.forward(
            chain,
            params,
            pretraining.statistics(state),
            key,
            *pretext.rotations(image),
            joined=True,
        )
        value, accuracy = pretext.rotation_loss(outputs['classifier'])
        return value, (stats, (), {'accuracy/rotations': accuracy})

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
