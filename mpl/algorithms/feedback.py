"""The feedback of Meta Pseudo Labels: a step of the student, and what its labels were worth.

Pham et al., arXiv 2003.10580, section 2. Let theta' be the student after its step on the
teacher's labels, L its labeled loss there, g the gradient that the step was made of, and u the
derivative of L with respect to g: through the optimizer with all that it does to a gradient (for
plain SGD, u is -rate * grad L). Since g is linear in the labels, one forward-mode product with u
says how L changes with the probability of each class of each image. The estimators:

  exact        soft labels; the derivative of L with respect to the teacher, to rounding. What
               the labels do to L in later steps, by momentum or otherwise, is left out, here as
               in the paper.
  per_example  sampled labels; each image has the credit h_i of its own label in the
               score-function gradient mean_i (h_i - b) CE(label_i, T(x_i)).
  dot          sampled labels; the paper's one h = -<u, g> for all images (eq. 12). In
               expectation 1/B of the derivative, and noisy.
  cosine       the same with the cosine of -u and g (appendix C).
  difference   the same with h = L(theta) - L(theta'), both in training mode on the labeled
               batch with the same dropout. The released code has the opposite sign, and mixes
               in a change of batch statistics.
  off          no feedback: the student distills the teacher.

b is a moving average of h over past steps. Cross-entropy against the teacher's own soft labels
has gradient 0 whatever h is, so soft labels need `exact`.
"""

from collections.abc import Callable
from typing import NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax

from mpl.algorithms import losses
from mpl.algorithms.interface import Batch, Metrics
from mpl.models import network
from mpl.models.network import Definition, Network

# Estimator -> the labels that it can give credit for.
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
    """Of a rule whose teacher learns from this feedback."""

    teacher: Network
    student: Network
    baseline: jax.Array  # float32: moving average of the feedback h


class Lesson(NamedTuple):
    """What one step of the student showed."""

    student: Network  # after the step
    baseline: jax.Array  # float32: the moving average of h after the step
    worth: (
        Callable  # teacher's logits [B, K] -> what to raise, a scalar; its gradient is the feedback
    )
    metrics: Metrics


def make(
    student: Definition,
    feedback: str,
    labels: str,
    baseline_decay: float,
    label_smoothing: float,
    ema_decay: float,
    student_statistics: str,
) -> Callable:
    """The student's step on a teacher's labels of the strong views.

    Args:
      student: the network that is taught.
      feedback: the estimator, as above.
      labels: 'soft', or 'sampled' from the teacher's distribution.
      baseline_decay: of b; 1 keeps it at 0.
      label_smoothing: of the student's targets.
      ema_decay: of the average of the student's weights; 0 keeps none.
      student_statistics: images over which batch norm in the student's step has its statistics,
        and so its running ones: 'unlabeled', the strong views alone; or 'joint', the labeled
        images too, as in the released code, which costs a pass over them. They have no loss there.

    Returns:
      (net, baseline, batch, logits [B, K] of the teacher for the unlabeled images, step,
      (student_key, labeled_key, label_key)) -> Lesson.

    Raises:
      ValueError: unknown name, or labels that the estimator can not credit.
    """
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
            f'algorithm.labels {labels!r} can not be credited by feedback {feedback!r}; '
            f'set labels to {" or ".join(LABELS[feedback])}.'
        )

    def instruct(net: Network, baseline, batch: Batch, logits, step, keys) -> Lesson:
        student_key, labeled_key, label_key = keys
        target = choose(label_key, logits)

        # Linearized once: transposed, the same map gives the student's gradient.
        def learn(params):
            images = [batch['unlabeled']['strong']]
            if student_statistics == 'joint':
                images.append(batch['labeled']['image'])
            (output, *_), batch_stats = network.forward(
                student, params, net.batch_stats, student_key, *images
            )
            return jax.nn.log_softmax(output.logits), batch_stats

        log_p, push, batch_stats = jax.linearize(learn, net.params, has_aux=True)
        smoothed = losses.smooth(target, target.shape[-1], label_smoothing, log_p.dtype)
        (gradient,) = jax.linear_transpose(push, net.params)(-smoothed / len(smoothed))

        def descend(gradient):
            new = network.update(student, net, gradient, batch_stats, step, ema_decay)
            return new.params, new

        params, pull_step, new = jax.vjp(descend, gradient, has_aux=True)

        def labeled_loss(params):
            (output,), _ = network.forward(
                student, params, net.batch_stats, labeled_key, batch['labeled']['image']
            )
            return losses.cross_entropy(output.logits, batch['labeled']['label'])

        loss, h, gain = judge(labeled_loss, net.params, params, pull_step, push, gradient, target)
        credit = h - baseline.astype(h.dtype)
        baseline = optax.incremental_update(
            jnp.mean(h).astype(jnp.float32), baseline, 1 - baseline_decay
        )

        def worth(logits):
            if feedback == 'off':
                return 0.0
            if feedback == 'exact':
                return jnp.mean(jnp.sum(jax.nn.softmax(logits) * gain, axis=-1))
            return jnp.mean(credit * jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))

        metrics = {
            'loss/student': -jnp.mean(jnp.sum(smoothed * log_p, axis=-1)),
            'loss/student_labeled': loss,
            'feedback/h': jnp.mean(h),
            'feedback/baseline': baseline,
        }
        return Lesson(new, baseline, worth, metrics)

    def choose(key, logits):
        if labels == 'soft':
            return jax.nn.softmax(logits)
        drawn = jax.random.categorical(key, logits)
        return jax.nn.one_hot(drawn, logits.shape[-1], dtype=logits.dtype)

    def judge(labeled_loss, old, new, pull_step, push, gradient, target):
        """The labeled loss after the student's step, the feedback h, and the gain.

        h is what the labels gained, in nats of labeled loss: one number, or one for
        each image; gain [B, K] what each label of each image would gain.
        """
        if feedback == 'off':
            return labeled_loss(new), jnp.zeros(()), None
        if feedback == 'difference':
            loss = labeled_loss(new)
            return loss, labeled_loss(old) - loss, None
        loss, slope = jax.value_and_grad(labeled_loss)(new)
        (u,) = pull_step(slope)
        if feedback in ('exact', 'per_example'):
            gain = (1 - label_smoothing) * push(u)  # -B dL / dtarget
            return loss, jnp.sum(target * gain, axis=-1), gain
        return loss, -(cosine if feedback == 'cosine' else dot)(u, gradient), None

    return instruct


def dot(one, other) -> jax.Array:
    """The inner product of two trees."""
    # Not tree.vdot: it makes vectors first, for which weights in parts would be put together.
    return optax.tree.sum(optax.tree.mul(one, other))


def cosine(one, other) -> jax.Array:
    """The cosine of the angle between two trees; 0 where one of them is 0."""
    one, other = _scale(one), _scale(other)
    norms = optax.tree.norm(one) * optax.tree.norm(other)
    return dot(one, other) / jnp.where(norms > 0, norms, 1)


def _scale(tree):
    """Divided by the power of two above the greatest magnitude, so that no square underflows.

    Nothing is rounded, so that a cosine changes only where squares did underflow.
    """
    _, exponent = jnp.frexp(optax.tree.norm(tree, ord='inf'))
    return jax.tree.map(lambda leaf: jnp.ldexp(leaf, -exponent), tree)
