"""The student step of Meta Pseudo Labels, on a teacher's pseudo-labels.

Pham et al., arXiv 2003.10580, section 2; notation as in mpl/algorithms/feedback.py.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from mpl.algorithms import losses
from mpl.algorithms.feedback import check, estimate, teacher_objective
from mpl.algorithms.interface import Batch, Metrics
from mpl.models import batch_statistics, network
from mpl.models.network import Definition, Frozen, Network, Variables

STATISTICS = ('unlabeled', 'joint')
FEEDBACK_STATISTICS = ('labeled', 'student')


class StudentStep(NamedTuple):
    """The result of one student step."""

    student: Network  # after the step
    baseline: jax.Array  # float32 scalar: the moving average of h after the step
    teacher_objective: Callable  # see feedback.teacher_objective
    metrics: Metrics


def build(
    student: Definition,
    feedback: str,
    labels: str,
    baseline_decay: float,
    label_smoothing: float,
    ema_decay: float,
    student_statistics: str,
    student_labeled_weight: float,
    feedback_statistics: str,
) -> Callable:
    """The student step on a teacher's pseudo-labels of the strong views.

    Args:
      student: the network.
      feedback: the estimator, one of those in mpl/algorithms/feedback.py.
      labels: 'soft', or 'sampled' from the teacher's distribution.
      baseline_decay: decay of b, the moving average of the feedback; 1 keeps b at 0.
      label_smoothing: of the student's targets.
      ema_decay: decay of the average of the student's weights; 0 keeps no average.
      student_statistics: the images over which batch norm computes its statistics, running ones
        included, in the student step: 'unlabeled', the strong views alone; or 'joint', the labeled
        images too, as in the released code. 'joint' costs a pass over them. On the digits with 40
        labels (`exact`, 3 seeds) the student's test accuracy was 95.2 % with 'joint' and 94.4 % with
        'unlabeled' (+0.7, +0.8 and +0.7), its test loss 0.223 nats with both.
      student_labeled_weight: of the cross-entropy of the labeled images in the student's loss; 0 is
        the paper's student, trained on pseudo-labels alone. Above 0 the labeled images are in the
        student's pass, so student_statistics has to be 'joint'.
      feedback_statistics: the batch statistics of the labeled loss that is fed back: 'labeled', those of
        the labeled images alone, as in the released code; or 'student', those of the student's pass, with
        which it is evaluated too. The first measures the student with other batch statistics than in
        evaluation; the more strong views differ from labeled images, the more (docs/method.md).

    Returns:
      (net, baseline, batch, logits [B, K] of the teacher for the unlabeled images, step,
      (student_key, labeled_key, label_key)) -> StudentStep.

    Raises:
      ValueError: unknown name, or labels for which the estimator has no gradient.
    """
    check(feedback, labels)
    _check(student_statistics, student_labeled_weight, feedback_statistics)
    is_sampled = labels == 'sampled'
    joins_labeled = student_statistics == 'joint'

    def student_step(net: Network, baseline, batch: Batch, logits, step, keys) -> StudentStep:
        student_key, labeled_key, label_key = keys
        target = pseudo_labels(label_key, logits, is_sampled)

        images = [batch['unlabeled']['strong']]
        if joins_labeled:
            images.append(batch['labeled']['image'])
        log_p, log_p_jvp, (batch_stats, of_images) = _log_probabilities(
            student, net, student_key, images, feedback_statistics == 'student'
        )
        smoothed = losses.smooth(target, target.shape[-1], label_smoothing, log_p[0].dtype)
        cotangents = [-smoothed / len(smoothed)]
        if joins_labeled:
            label = batch['labeled']['label']
            true = losses.smooth(label, target.shape[-1], label_smoothing, log_p[1].dtype)
            cotangents.append(-student_labeled_weight * true / len(true))
        (gradient,) = jax.linear_transpose(log_p_jvp, net.params)(cotangents)

        def apply_gradient(gradient):
            new = network.update(student, net, gradient, batch_stats, step, ema_decay)
            return new.params, new

        params, update_vjp, new = jax.vjp(apply_gradient, gradient, has_aux=True)

        def labeled_loss(params):
            return _labeled_loss(student, net, params, of_images, labeled_key, batch['labeled'])

        def target_jvp(u):
            return (1 - label_smoothing) * log_p_jvp(u)[0]  # -B dL / dtarget

        loss, h, gain = estimate(
            feedback, labeled_loss, net.params, params, update_vjp, target_jvp, gradient, target
        )
        advantage = h - baseline.astype(h.dtype)
        baseline = optax.incremental_update(
            jnp.mean(h).astype(jnp.float32), baseline, 1 - baseline_decay
        )

        objective = teacher_objective(feedback, target, gain, advantage)
        metrics = {
            'loss/student': -jnp.mean(jnp.sum(smoothed * log_p[0], axis=-1)),
            'loss/student_labeled': loss,
            'feedback/h': jnp.mean(h),
            'feedback/baseline': baseline,
        }
        return StudentStep(new, baseline, objective, metrics)

    return student_step


def _check(student_statistics, student_labeled_weight, feedback_statistics):
    losses.check_choice('student_statistics', student_statistics, STATISTICS)
    losses.check_choice('feedback_statistics', feedback_statistics, FEEDBACK_STATISTICS)
    if student_labeled_weight and student_statistics != 'joint':
        raise ValueError(
            f'algorithm.student_labeled_weight is {student_labeled_weight}, which has the labeled '
            "images in the student's pass; set algorithm.student_statistics to 'joint'."
        )


def _labeled_loss(student, net, params, batch_stats, key, labeled):
    """With these batch statistics, or those of the labeled images if they are None."""
    if batch_stats is None:
        (output,), _ = network.forward(student, params, net.batch_stats, key, labeled['image'])
    else:
        output = network.predict(Frozen(student, Variables(params, batch_stats)), labeled['image'])
    return losses.cross_entropy(output.logits, labeled['label'])


def _log_probabilities(student, net, key, images, separates):
    """The student's log-probabilities [B, K] of each part of the images, linear map and batch statistics.

    The map is the product with a tangent of the parameters; transposed, it gives the student's gradient, so
    that one linearization serves both. The statistics are the running ones after the pass and, if it
    `separates` them, those of the images alone.
    """

    def log_probabilities(params):
        def passes(stats):
            outputs, after = network.forward(student, params, stats, key, *images)
            return after, [jax.nn.log_softmax(output.logits) for output in outputs]

        if separates:
            (after, log_p), of_images = batch_statistics.of_step(passes, net.batch_stats)
        else:
            (after, log_p), of_images = passes(net.batch_stats), None
        return log_p, (after, of_images)

    return jax.linearize(log_probabilities, net.params, has_aux=True)


def pseudo_labels(key: jax.Array, logits: jax.Array, is_sampled: bool) -> jax.Array:
    """Distributions [B, K] from the teacher's logits: probabilities, or sampled classes, one-hot."""
    if not is_sampled:
        return jax.nn.softmax(logits)
    sampled = jax.random.categorical(key, logits)
    return jax.nn.one_hot(sampled, logits.shape[-1], dtype=logits.dtype)
