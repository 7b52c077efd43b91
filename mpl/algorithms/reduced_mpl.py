"""Reduced Meta Pseudo Labels (Pham et al., arXiv 2003.10580, appendix E)."""

import jax

from mpl.algorithms import bilevel, losses, student_step
from mpl.algorithms.interface import Algorithm
from mpl.models import network
from mpl.models.network import Definition


def make(
    teacher: Definition,
    student: Definition,
    feedback: str = 'exact',
    feedback_weight: float = 1.0,
    labels: str = 'soft',
    baseline_decay: float = 0.99,
    teacher_labeled_weight: float = 1.0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    student_statistics: str = 'unlabeled',
) -> Algorithm:
    """Meta Pseudo Labels with one large network in memory.

    The logits of a large teacher, trained before, are read from a file for every example. A small
    network, such as an `mlp`, corrects them. Only this network is trained, by the same feedback and
    by the labels. Its inputs are the stored log-probabilities [B, 1, 1, K] instead of images, and
    its outputs are added to them. The appendix was not available: size, initial values and loss of
    the small network are choices of this repository. Images with equal logits have equal
    corrections, so it can improve calibration, not errors that depend on the image. Pseudo-labels
    of a bad large teacher stay bad.

    Args:
      teacher: the small network.
      student: the result of the run, trained on strong views with corrected pseudo-labels alone.
      feedback, feedback_weight, labels, baseline_decay: as in mpl.
      teacher_labeled_weight: of the cross-entropy of the corrected logits of labeled images.
      label_smoothing: of true labels and of the student's targets.
      ema_decay: decay of the average of the student's weights; 0 keeps no average.
      student_statistics: 'unlabeled' or 'joint', see student_step.build.

    Raises:
      ValueError: unknown name, or labels for which the estimator has no gradient.
    """
    step_of_student = student_step.build(
        student,
        feedback=feedback,
        labels=labels,
        baseline_decay=baseline_decay,
        label_smoothing=label_smoothing,
        ema_decay=ema_decay,
        student_statistics=student_statistics,
        student_labeled_weight=0.0,
        feedback_statistics='labeled',
    )

    def teacher_image(batch):
        return log_probabilities(batch['labeled'])

    def teacher_logits(params, state, batch, key):
        inputs = [log_probabilities(batch[name]) for name in ('labeled', 'unlabeled')]
        outputs, batch_stats = network.forward(
            teacher, params, state.teacher.batch_stats, key, *inputs
        )
        return [o.logits + log_p[:, 0, 0] for o, log_p in zip(outputs, inputs)], batch_stats

    def teacher_loss(logits, batch, step, after):
        labeled, unlabeled = logits
        label = batch['labeled']['label']
        supervised = losses.cross_entropy(labeled, label, label_smoothing)
        objective = after.teacher_objective(unlabeled)
        total = teacher_labeled_weight * supervised - feedback_weight * objective
        return total, {
            'loss/teacher_labeled': supervised,
            'accuracy/batch': losses.accuracy(labeled, label),
        }

    return bilevel.from_loss(
        teacher,
        student,
        teacher_image,
        teacher_logits,
        teacher_loss,
        step_of_student,
        view=1,
        ema_decay=ema_decay,
        roles=('student',),
    )


def log_probabilities(part):
    """The large teacher's log-probabilities as images, float32 [B, 1, 1, K]."""
    return jax.nn.log_softmax(part['logits'])[:, None, None, :]
