"""S4L-Rotation (Zhai et al., arXiv 1905.03670): rotations beside the labels, in one network."""

import jax

from mpl.algorithms import losses, pretext, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models import network
from mpl.models.network import Definition


def make(
    student: Definition,
    classifier: Definition,
    weight: float = 1.0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy of the labels, and of the rotation of all images.

    As in the released code, the labeled images have their class in all four rotations, and the rotations of
    labeled and unlabeled images have one half of the weight each. All images share one pass; evaluation is of
    upright images alone.

    Args:
      student: the network.
      classifier: the head on its features that tells rotations, four outputs.
      weight: of the rotations.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the student's weights; 0 keeps no average.
    """
    chain = {'student': student, 'classifier': classifier}

    def loss(params, state, batch, step, key):
        image, label = batch['labeled']['image'], batch['labeled']['label']
        (unlabeled,) = pretraining.views(batch, 'view_0')
        stats, (key, head_key) = pretraining.statistics(state), jax.random.split(key)
        outputs, stats['student'] = network.forward(
            student,
            params['student'],
            stats['student'],
            key,
            *pretext.rotations(image),
            *pretext.rotations(unlabeled),
        )
        turned, stats['classifier'] = network.forward(
            classifier,
            params['classifier'],
            stats['classifier'],
            head_key,
            *(one.features for one in outputs),
        )
        classes = [one.logits for one in outputs[:4]]
        supervised = sum(losses.cross_entropy(c, label, label_smoothing) for c in classes) / 4
        logits = [one.logits for one in turned]
        of_labeled, _ = pretext.rotation_loss(logits[:4])
        of_unlabeled, accuracy = pretext.rotation_loss(logits[4:])
        rotations = (of_labeled + of_unlabeled) / 2
        return supervised + weight * rotations, (
            stats,
            (),
            {
                'loss/labeled': supervised,
                'loss/rotations': rotations,
                'accuracy/batch': losses.accuracy(classes[0], label),
                'accuracy/rotations': accuracy,
            },
        )

    return pretraining.from_loss(loss, chain, pretraining.Average(ema_decay), labels=None)
