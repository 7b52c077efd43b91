"""Reduced Meta Pseudo Labels (Pham et al., arXiv 2003.10580, appendix E)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import feedback as feedbacks
from mpl.algorithms import losses
from mpl.algorithms.feedback import State
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

    The logits of a large teacher, trained before, are read from a file for every example; a small
    network, such as an `mlp`, corrects them and is the only part of the teacher that is trained:
    by the same feedback, and by the labels. Its inputs are the stored log-probabilities
    [B, 1, 1, K] in place of images, and its outputs are added to them. The appendix was not
    available: size, initial values and loss of the small network are our choice. It corrects two
    images with equal logits alike, so it can improve calibration, not errors that depend on the
    image; where the large teacher is bad, so are the pseudo-labels.

    Args:
      teacher: the small network.
      student: the network that the run is for, trained on strong views and corrected labels alone.
      feedback, feedback_weight, labels, baseline_decay: as in mpl.
      teacher_labeled_weight: of the cross-entropy of the corrected labels of labeled images.
      label_smoothing: of true labels and of the student's targets.
      ema_decay: of the average of the student's weights; 0 keeps none.
      student_statistics: 'unlabeled' or 'joint', see feedback.make.

    Raises:
      ValueError: unknown name, or labels for which the estimator has no gradient.
    """
    student_step = feedbacks.make(
        student,
        feedback,
        labels,
        baseline_decay,
        label_smoothing,
        ema_decay,
        student_statistics,
    )

    def init(key, batch, sizes):
        teacher_key, student_key = jax.random.split(key)
        return State(
            network.create(teacher, teacher_key, stored(batch['labeled']), 0.0),
            network.create(student, student_key, batch['labeled']['image'], ema_decay),
            jnp.zeros((), jnp.float32),
        )

    def stored(part):
        return jax.nn.log_softmax(part['logits'])[:, None, None, :]

    def update(state, batch, step, key):
        teacher_key, *keys = jax.random.split(key, 4)
        inputs = [stored(batch[name]) for name in ('labeled', 'unlabeled')]

        def teach(params):
            outputs, batch_stats = network.forward(
                teacher, params, state.teacher.batch_stats, teacher_key, *inputs
            )
            return [o.logits + log_p[:, 0, 0] for o, log_p in zip(outputs, inputs)], batch_stats

        logits, pull, batch_stats = jax.vjp(teach, state.teacher.params, has_aux=True)
        stepped = student_step(state.student, state.baseline, batch, logits[1], step, keys)
        cotangent, metrics = jax.grad(teacher_loss, has_aux=True)(
            logits, batch['labeled']['label'], stepped
        )
        (gradient,) = pull(cotangent)
        net = network.update(teacher, state.teacher, gradient, batch_stats, step, 0.0)
        return State(net, stepped.student, stepped.baseline), metrics | stepped.metrics

    def teacher_loss(logits, label, stepped):
        supervised = losses.cross_entropy(logits[0], label, label_smoothing)
        total = teacher_labeled_weight * supervised - feedback_weight * stepped.teacher_objective(
            logits[1]
        )
        return total, {
            'loss/teacher_labeled': supervised,
            'accuracy/batch': losses.accuracy(logits[0], label),
        }

    def networks(state):
        return network.freeze('student', student, state.student)

    return Algorithm(init, update, networks)
