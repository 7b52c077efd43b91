"""Meta Pseudo Labels (Pham et al., arXiv 2003.10580)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms import student_step as student_steps
from mpl.algorithms.interface import Algorithm, forward_targets
from mpl.models import network
from mpl.models.network import Definition
from mpl.optimizers import schedules

VIEWS = ('weak', 'strong')


def make(
    teacher: Definition,
    student: Definition,
    feedback: str = 'exact',
    feedback_weight: float = 1.0,
    labels: str = 'soft',
    label_view: str = 'strong',
    baseline_decay: float = 0.99,
    uda_weight: float = 1.0,
    uda_temperature: float = 0.7,
    uda_threshold: float = 0.6,
    uda_mask_sharpened: bool = True,
    uda_ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
    student_statistics: str = 'unlabeled',
    student_labeled_weight: float = 0.0,
    feedback_statistics: str = 'labeled',
    target_pass: str = 'joined',
) -> Algorithm:
    """A teacher that minimizes the student's labeled loss after a step on its pseudo-labels.

    The student is trained on pseudo-labels of the strong views, alone by default. The teacher
    minimizes labeled cross-entropy + uda_weight * UDA + feedback_weight * feedback; without feedback
    it is trained as by `uda`. Two networks are in memory. mpl/algorithms/feedback.py describes the
    estimators, and how small the exact feedback is in the first steps if the student has Adam.

    Args:
      teacher: the network whose predictions are the pseudo-labels.
      student: the network trained on them, the result of the run.
      feedback: the estimator, one of those in mpl/algorithms/feedback.py, or 'off'.
      feedback_weight: of the feedback; -1 flips its sign, for ablation.
      labels: 'soft', or 'sampled' from the teacher's distribution.
      label_view: the view on which the teacher computes the pseudo-labels, 'weak' or 'strong' (as
        in the released code).
      baseline_decay: decay of the moving average that is subtracted from the feedback of sampled
        labels; 1 keeps it at 0.
      uda_weight: of the teacher's consistency loss.
      uda_temperature: see losses.uda.
      uda_threshold: see losses.uda.
      uda_mask_sharpened: see losses.uda.
      uda_ramp_steps: steps over which uda_weight rises linearly from 0.
      label_smoothing: of true labels and of the student's targets.
      ema_decay: decay of the average of the student's weights; 0 keeps no average.
      student_statistics: 'unlabeled' or 'joint', see make_student_step.
      student_labeled_weight: of the labels in the student's loss, see make_student_step.
      feedback_statistics: 'labeled' or 'student', see make_student_step.
      target_pass: the teacher's pass over the weak views, see interface.forward_targets. With
        'separate' it has no backward pass, unless its logits are pseudo-labels that get feedback;
        'averaged' is refused, since the teacher has no average.

    Raises:
      ValueError: unknown name, labels for which the estimator has no gradient, or a temperature
        outside of [1e-4, 1e4].
    """
    losses.check_temperature('uda_temperature', uda_temperature)
    student_step = student_steps.make_student_step(
        student,
        feedback,
        labels,
        baseline_decay,
        label_smoothing,
        ema_decay,
        student_statistics,
        student_labeled_weight,
        feedback_statistics,
    )
    if label_view not in VIEWS:
        raise ValueError(
            f"algorithm.label_view {label_view!r} is unknown; choose 'weak' or 'strong'."
        )
    view = 1 + VIEWS.index(label_view)  # Its place behind the labeled images.
    weak_has_gradient = label_view == 'weak' and feedback != 'off'

    def init(key, batch, sizes):
        teacher_key, student_key = jax.random.split(key)
        image = batch['labeled']['image']
        return student_steps.State(
            network.create(teacher, teacher_key, image, 0.0),
            network.create(student, student_key, image, ema_decay),
            jnp.zeros((), jnp.float32),
        )

    def update(state, batch, step, key):
        teacher_key, *keys = jax.random.split(key, 4)

        def teacher_logits(params):
            outputs, batch_stats = forward_targets(
                teacher, params, state.teacher, batch, teacher_key, target_pass, weak_has_gradient
            )
            return tuple(output.logits for output in outputs), batch_stats

        def teacher_loss(logits, after):
            return loss(logits, batch['labeled']['label'], step, after)

        return student_steps.update(
            teacher, teacher_logits, teacher_loss, student_step, view, state, batch, step, keys
        )

    def loss(logits, label, step, after):
        labeled, weak, strong = logits
        supervised = losses.cross_entropy(labeled, label, label_smoothing)
        unlabeled, mask_rate = losses.uda(
            weak, strong, uda_temperature, uda_threshold, uda_mask_sharpened
        )
        total = supervised + uda_weight * schedules.ramp(step, uda_ramp_steps) * unlabeled
        total -= feedback_weight * after.teacher_objective(logits[view])
        return total, {
            'loss/teacher_labeled': supervised,
            'loss/teacher_unlabeled': unlabeled,
            'mask_rate': mask_rate,
            'accuracy/batch': losses.accuracy(labeled, label),
        }

    def networks(state):
        return network.freeze('student', student, state.student) | network.freeze(
            'teacher', teacher, state.teacher
        )

    return Algorithm(init, update, networks)
