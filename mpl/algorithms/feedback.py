"""The feedback of Meta Pseudo Labels: a student step on pseudo-labels, and the teacher objective.

Pham et al., arXiv 2003.10580, section 2. Notation: theta is the student before and theta' after its
step on the teacher's pseudo-labels, L its loss on the labeled batch, g the gradient of the step, and
u the derivative of L(theta') with respect to g, through the optimizer's update (for plain SGD
u = -rate * grad L(theta')). Since g is linear in the pseudo-labels, one forward-mode product with u
is the derivative of L(theta') with respect to the probability of each class of each image. The
estimators of the derivative with respect to the teacher:

  exact        soft labels; the derivative itself, to rounding. The effect of the pseudo-labels on L
               in later steps, such as by momentum, is left out, as in the paper.
  per_example  sampled labels; the score-function gradient mean_i (h_i - b) grad CE(label_i, T(x_i))
               with an advantage h_i - b for each image.
  dot          sampled labels; the paper's one h = -<u, g> for all images (equation 12). In
               expectation 1/B of the derivative, and noisy.
  cosine       as dot, with the cosine of -u and g (appendix C).
  difference   as dot, with h = L(theta) - L(theta'), both in training mode on the labeled batch
               with the same dropout mask. The released code has the opposite sign, and its two
               losses have different batch statistics.
  off          no feedback: the student is distilled from the teacher.

b is a moving average of h over past steps. Cross-entropy against the teacher's own soft labels
has gradient 0 for any h, so soft labels need `exact`.

With Adam as the student's optimizer the feedback is very small at first: the first step is
rate * sign(g), whose derivative is rate * epsilon / (|g| + epsilon)^2, so only parameters whose
gradient is near epsilon contribute. Ratio of the norm of the feedback to that of the rest of the
teacher's gradient, measured on the digits with 40 labels and warm-up over 50 steps: 0.0009 in step
0, 0.004 in step 10 and 0.02 to 0.06 from step 50 on with Adam at rate 0.001; 0.04 in step 1, 0.65
in step 10 and 0.01 to 0.15 from step 50 on with SGD at rate 0.05. Without the warm-up Adam's is 0.04
in step 0: most of the smallness at first is the low rate of the warm-up.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from mpl.algorithms import losses
from mpl.algorithms.interface import Batch, Metrics
from mpl.models import network
from mpl.models.network import Definition, Network

# Estimator -> kinds of pseudo-labels for which it has a gradient.
LABELS = {
    'exact': ('soft',),
    'per_example': ('sampled',),
    'dot': ('sampled',),
    'cosine': ('sampled',),
    'difference': ('sampled',),
    'off': ('soft', 'sampled'),
}
STATISTICS = ('unlabeled', 'joint')


@flax.struct.dataclass
class State:
    """The state of an algorithm whose teacher is trained with the feedback."""

    teacher: Network
    student: Network
    baseline: jax.Array  # float32 scalar: moving average of the feedback h


class StudentStep(NamedTuple):
    """The result of one student step."""

    student: Network  # after the step
    baseline: jax.Array  # float32 scalar: the moving average of h after the step
    # teacher's logits [B, K] -> a scalar, which the teacher maximizes; its gradient is the feedback
    teacher_objective: Callable
    metrics: Metrics


def make_student_step(
    student: Definition,
    feedback: str,
    labels: str,
    baseline_decay: float,
    label_smoothing: float,
    ema_decay: float,
    student_statistics: str,
    student_labeled_weight: float,
) -> Callable:
    """The student step on a teacher's pseudo-labels of the strong views.

    Args:
      student: the network.
      feedback: the estimator, as above.
      labels: 'soft', or 'sampled' from the teacher's distribution.
      baseline_decay: decay of b; 1 keeps b at 0.
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

    Returns:
      (net, baseline, batch, logits [B, K] of the teacher for the unlabeled images, step,
      (student_key, labeled_key, label_key)) -> StudentStep.

    Raises:
      ValueError: unknown name, or labels for which the estimator has no gradient.
    """
    _check(feedback, labels, student_statistics)
    if student_labeled_weight and student_statistics != 'joint':
        raise ValueError(
            f'algorithm.student_labeled_weight is {student_labeled_weight}, which has the labeled '
            "images in the student's pass; set algorithm.student_statistics to 'joint'."
        )
    is_sampled = labels == 'sampled'
    joins_labeled = student_statistics == 'joint'

    def student_step(net: Network, baseline, batch: Batch, logits, step, keys) -> StudentStep:
        student_key, labeled_key, label_key = keys
        target = pseudo_labels(label_key, logits, is_sampled)

        # Linearized once: transposed, the same map gives the student's gradient.
        def log_probabilities(params):
            images = [batch['unlabeled']['strong']]
            if joins_labeled:
                images.append(batch['labeled']['image'])
            outputs, batch_stats = network.forward(
                student, params, net.batch_stats, student_key, *images
            )
            return [jax.nn.log_softmax(output.logits) for output in outputs], batch_stats

        log_p, log_p_jvp, batch_stats = jax.linearize(log_probabilities, net.params, has_aux=True)
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
            (output,), _ = network.forward(
                student, params, net.batch_stats, labeled_key, batch['labeled']['image']
            )
            return losses.cross_entropy(output.logits, batch['labeled']['label'])

        def target_jvp(u):
            return (1 - label_smoothing) * log_p_jvp(u)[0]  # -B dL / dtarget

        loss, h, gain = _estimate(
            feedback, labeled_loss, net.params, params, update_vjp, target_jvp, gradient, target
        )
        advantage = h - baseline.astype(h.dtype)
        baseline = optax.incremental_update(
            jnp.mean(h).astype(jnp.float32), baseline, 1 - baseline_decay
        )

        def teacher_objective(logits):
            if feedback == 'off':
                return 0.0
            if feedback == 'exact':
                return jnp.mean(jnp.sum(jax.nn.softmax(logits) * gain, axis=-1))
            return jnp.mean(advantage * jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))

        metrics = {
            'loss/student': -jnp.mean(jnp.sum(smoothed * log_p[0], axis=-1)),
            'loss/student_labeled': loss,
            'feedback/h': jnp.mean(h),
            'feedback/baseline': baseline,
        }
        return StudentStep(new, baseline, teacher_objective, metrics)

    return student_step


def update(
    teacher: Definition,
    teacher_logits: Callable,
    teacher_loss: Callable,
    student_step: Callable,
    view: int,
    state: State,
    batch: Batch,
    step: jax.Array,
    keys: Sequence[jax.Array],
) -> tuple[State, Metrics]:
    """One step of both networks: the student on pseudo-labels, then the teacher with the feedback.

    The teacher has one forward pass, for the pseudo-labels, and one backward pass after the student
    step.

    Args:
      teacher: the network.
      teacher_logits: params -> (its logits [B, K] for each part of the batch, batch statistics).
      teacher_loss: (these logits, StudentStep) -> (scalar, metrics).
      student_step: as `make` returns it.
      view: index of the part whose logits give the pseudo-labels.
      state: before the step.
      batch: of the step.
      step: int32.
      keys: as of `student_step`.
    """
    logits, logits_vjp, batch_stats = jax.vjp(teacher_logits, state.teacher.params, has_aux=True)
    after = student_step(state.student, state.baseline, batch, logits[view], step, keys)
    cotangent, metrics = jax.grad(teacher_loss, has_aux=True)(logits, after)
    (gradient,) = logits_vjp(cotangent)
    net = network.update(teacher, state.teacher, gradient, batch_stats, step, 0.0)
    return State(net, after.student, after.baseline), metrics | after.metrics


def pseudo_labels(key: jax.Array, logits: jax.Array, is_sampled: bool) -> jax.Array:
    """Distributions [B, K] from the teacher's logits: probabilities, or sampled classes, one-hot."""
    if not is_sampled:
        return jax.nn.softmax(logits)
    sampled = jax.random.categorical(key, logits)
    return jax.nn.one_hot(sampled, logits.shape[-1], dtype=logits.dtype)


def _check(feedback, labels, student_statistics):
    if student_statistics not in STATISTICS:
        raise ValueError(
            f'algorithm.student_statistics {student_statistics!r} is unknown; choose one of '
            f'{", ".join(STATISTICS)}.'
        )
    if feedback not in LABELS:
        raise ValueError(
            f'algorithm.feedback {feedback!r} is unknown; choose one of {", ".join(LABELS)}.'
        )
    if labels not in LABELS[feedback]:
        raise ValueError(
            f'algorithm.labels {labels!r} has no gradient by feedback {feedback!r}; '
            f'set labels to {" or ".join(LABELS[feedback])}.'
        )


def _estimate(feedback, labeled_loss, old, new, update_vjp, target_jvp, gradient, target):
    """The labeled loss after the student step, the feedback h, and the gain of each class.

    h, in nats: the decrease of the labeled loss by the pseudo-labels, a scalar, or [B] for
    estimators with a value per example. gain [B, K] (None for estimators that do not use it): the
    decrease by a unit of probability of each class, times the batch size B.
    """
    if feedback == 'off':
        return labeled_loss(new), jnp.zeros(()), None
    if feedback == 'difference':
        loss = labeled_loss(new)
        return loss, labeled_loss(old) - loss, None
    loss, slope = jax.value_and_grad(labeled_loss)(new)
    (u,) = update_vjp(slope)
    if feedback in ('exact', 'per_example'):
        gain = target_jvp(u)
        return loss, jnp.sum(target * gain, axis=-1), gain
    return loss, -(cosine if feedback == 'cosine' else dot)(u, gradient), None


def dot(one, other) -> jax.Array:
    """The inner product of two trees."""
    # Not tree.vdot: it reshapes leaves to vectors, for which sharded weights would be gathered.
    return optax.tree.sum(optax.tree.mul(one, other))


def cosine(one, other) -> jax.Array:
    """The cosine of the angle between two trees; 0 if one of them is 0."""
    one, other = _scale(one), _scale(other)
    norms = optax.tree.norm(one) * optax.tree.norm(other)
    return dot(one, other) / jnp.where(norms > 0, norms, 1)


def _scale(tree):
    """The tree divided by the power of two above its largest magnitude.

    Then no square underflows. The division rounds nothing, so it changes a cosine only if squares
    underflowed without it.
    """
    return optax.tree.scale(losses.power_of_two(optax.tree.norm(tree, ord='inf')), tree)
