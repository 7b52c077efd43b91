"""Meta Pseudo Labels (Pham et al., arXiv 2003.10580)."""

from mpl.algorithms import bilevel, losses, student_step
from mpl.algorithms.interface import Algorithm, forward_targets
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
    target_pass: str = 'separate',
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
      student_statistics: 'unlabeled' or 'joint', see student_step.build.
      student_labeled_weight: of the labels in the student's loss, see student_step.build.
      feedback_statistics: 'labeled' or 'student', see student_step.build.
      target_pass: the teacher's pass over the weak views, see interface.forward_targets. With
        'separate' it has no backward pass, unless its logits are pseudo-labels that get feedback;
        'averaged' is refused, since the teacher has no average.

    Raises:
      ValueError: unknown name, labels for which the estimator has no gradient, or a temperature
        outside of [1e-4, 1e4].
    """
    losses.check_temperature('uda_temperature', uda_temperature)
    step_of_student = student_step.build(
        student,
        feedback=feedback,
        labels=labels,
        baseline_decay=baseline_decay,
        label_smoothing=label_smoothing,
        ema_decay=ema_decay,
        student_statistics=student_statistics,
        student_labeled_weight=student_labeled_weight,
        feedback_statistics=feedback_statistics,
    )
    losses.check_choice('label_view', label_view, VIEWS)
    view = 1 + VIEWS.index(label_view)  # Its place behind the labeled images.
    weak_has_gradient = label_view == 'weak' and feedback != 'off'

    def teacher_image(batch):
        return batch['labeled']['image']

    def teacher_logits(params, state, batch, key):
        outputs, batch_stats = forward_targets(
            teacher, params, state.teacher, batch, key, target_pass, weak_has_gradient
        )
        return tuple(output.logits for output in outputs), batch_stats

    def teacher_loss(logits, batch, step, after):
        labeled, weak, strong = logits
        label = batch['labeled']['label']
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

    return bilevel.from_loss(
        teacher,
        student,
        teacher_image,
        teacher_logits,
        teacher_loss,
        step_of_student,
        view,
        ema_decay,
        roles=('student', 'teacher'),
    )
