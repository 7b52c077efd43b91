"""Meta Pseudo Labels (Pham et al., arXiv 2003.10580)."""

import flax
import jax
import jax.numpy as jnp
import optax

from mpl import losses, network, schedules
from mpl.algorithm import Algorithm
from mpl.network import Definition, Network

# Estimator of the feedback -> the labels that it can give credit for.
LABELS = {
    'exact': ('soft',),
    'per_example': ('sampled',),
    'dot': ('sampled',),
    'cosine': ('sampled',),
    'difference': ('sampled',),
    'off': ('soft', 'sampled'),
}


@flax.struct.dataclass
class State:
    teacher: Network
    student: Network
    baseline: jax.Array  # float32: moving average of the feedback h


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
) -> Algorithm:
    """A teacher that learns from how its labels change the student's labeled loss.

    The student sees the teacher's labels alone, on the strong view. The teacher
    minimizes labeled cross-entropy + uda_weight * UDA + feedback_weight * feedback.
    Let theta' be the student after its step, L its labeled loss there, g the
    gradient that the step was made of, and u the derivative of L with respect to g:
    through the optimizer with all that it does to a gradient (for plain SGD, u is
    -rate * grad L). Since g is linear in the labels, one forward-mode product with
    u says how L changes with the probability of each class of each image:

      exact        soft labels; the derivative of L with respect to the teacher,
                   to rounding. What the labels do to L in later steps, by momentum
                   or otherwise, is left out, here as in the paper.
      per_example  sampled labels; each image has the credit h_i of its own label in
                   the score-function gradient mean_i (h_i - b) CE(label_i, T(x_i)).
      dot          sampled labels; the paper's one h = -<u, g> for all images
                   (eq. 12). In expectation 1/B of the derivative, and noisy.
      cosine       the same with the cosine of -u and g (appendix C).
      difference   the same with h = L(theta) - L(theta'), both in training mode on
                   the labeled batch with the same dropout. The released code has
                   the opposite sign, and mixes in a change of batch statistics.
      off          no feedback: the teacher is UDA's, the student distills it.

    b is a moving average of h over past steps. Cross-entropy against the teacher's
    own soft labels has gradient 0 whatever h is, so soft labels need `exact`.

    Args:
      teacher: network that makes the labels.
      student: network that is wanted.
      feedback: the estimator, as above.
      feedback_weight: of the feedback; -1 flips its sign, for ablation.
      labels: 'soft', or 'sampled' from the teacher's distribution.
      label_view: view that the teacher labels, 'weak' or 'strong'.
      baseline_decay: of b; 1 keeps it at 0.
      uda_weight: of the teacher's consistency loss.
      uda_temperature: see losses.uda.
      uda_threshold: see losses.uda.
      uda_mask_sharpened: see losses.uda.
      uda_ramp_steps: over which uda_weight rises linearly from 0.
      label_smoothing: of true labels and of the student's targets.
      ema_decay: of the average of the student's weights; 0 keeps none.

    Raises:
      ValueError: unknown name, or labels that the estimator can not credit.
    """
    if feedback not in LABELS:
        raise ValueError(
            f'algorithm.feedback {feedback!r} is unknown; choose one of {", ".join(LABELS)}.'
        )
    if labels not in LABELS[feedback]:
        raise ValueError(
            f'algorithm.labels {labels!r} can not be credited by feedback {feedback!r}; '
            f'set labels to {" or ".join(LABELS[feedback])}.'
        )
    if label_view not in ('weak', 'strong'):
        raise ValueError(
            f"algorithm.label_view {label_view!r} is unknown; choose 'weak' or 'strong'."
        )

    def init(key, batch, sizes):
        teacher_key, student_key = jax.random.split(key)
        image = batch['labeled']['image']
        return State(
            network.create(teacher, teacher_key, image, 0.0),
            network.create(student, student_key, image, ema_decay),
            jnp.zeros((), jnp.float32),
        )

    def update(state, batch, step, key):
        teacher_key, student_key, labeled_key, label_key = jax.random.split(key, 4)
        image, label = batch['labeled']['image'], batch['labeled']['label']
        weak, strong = batch['unlabeled']['weak'], batch['unlabeled']['strong']

        # The teacher, once: its labels come from this pass, and so does its gradient,
        # when the student's step has shown what the labels were worth.
        def teach(params):
            outputs, batch_stats = network.forward(
                teacher, params, state.teacher.batch_stats, teacher_key, image, weak, strong
            )
            return tuple(output.logits for output in outputs), batch_stats

        logits, pull_teacher, teacher_stats = jax.vjp(teach, state.teacher.params, has_aux=True)
        target = choose_labels(label_key, labeled_view(logits))

        # The student, linearized once: transposed, the same map gives its gradient.
        def learn(params):
            (output,), batch_stats = network.forward(
                student, params, state.student.batch_stats, student_key, strong
            )
            return jax.nn.log_softmax(output.logits), batch_stats

        log_p, push, student_stats = jax.linearize(learn, state.student.params, has_aux=True)
        smoothed = losses.smooth(target, target.shape[-1], label_smoothing, log_p.dtype)
        (gradient,) = jax.linear_transpose(push, state.student.params)(-smoothed / len(smoothed))

        def descend(gradient):
            net = network.update(student, state.student, gradient, student_stats, step, ema_decay)
            return net.params, net

        params, pull_step, new_student = jax.vjp(descend, gradient, has_aux=True)

        def labeled_loss(params):
            (output,), _ = network.forward(
                student, params, state.student.batch_stats, labeled_key, image
            )
            return losses.cross_entropy(output.logits, label)

        loss, h, gain = judge(
            labeled_loss, state.student.params, params, pull_step, push, gradient, target
        )
        credit = h - state.baseline.astype(h.dtype)
        baseline = optax.incremental_update(
            jnp.mean(h).astype(jnp.float32), state.baseline, 1 - baseline_decay
        )

        cotangent, metrics = jax.grad(teacher_loss, has_aux=True)(
            logits, label, step, target, gain, credit
        )
        (gradient,) = pull_teacher(cotangent)
        new_teacher = network.update(teacher, state.teacher, gradient, teacher_stats, step, 0.0)
        return State(new_teacher, new_student, baseline), metrics | {
            'loss/student': -jnp.mean(jnp.sum(smoothed * log_p, axis=-1)),
            'loss/student_labeled': loss,
            'feedback/h': jnp.mean(h),
            'feedback/baseline': baseline,
        }

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
        h = -optax.tree.vdot(u, gradient)
        if feedback == 'cosine':
            h /= jnp.maximum(optax.tree.norm(u) * optax.tree.norm(gradient), 1e-30)
        return loss, h, None

    def labeled_view(logits):
        return logits[('weak', 'strong').index(label_view) + 1]

    def choose_labels(key, logits):
        if labels == 'soft':
            return jax.nn.softmax(logits)
        drawn = jax.random.categorical(key, logits)
        return jax.nn.one_hot(drawn, logits.shape[-1], dtype=logits.dtype)

    def teacher_loss(logits, label, step, target, gain, credit):
        supervised = losses.cross_entropy(logits[0], label, label_smoothing)
        unlabeled, mask_rate = losses.uda(
            logits[1], logits[2], uda_temperature, uda_threshold, uda_mask_sharpened
        )
        total = supervised + uda_weight * schedules.ramp(step, uda_ramp_steps) * unlabeled
        guess = labeled_view(logits)
        if feedback == 'exact':
            expected = jnp.sum(jax.nn.softmax(guess) * gain, axis=-1)
            total -= feedback_weight * jnp.mean(expected)
        elif feedback != 'off':
            log_p = jnp.sum(target * jax.nn.log_softmax(guess), axis=-1)
            total -= feedback_weight * jnp.mean(credit * log_p)
        return total, {
            'loss/teacher_labeled': supervised,
            'loss/teacher_unlabeled': unlabeled,
            'mask_rate': mask_rate,
            'accuracy/batch': losses.accuracy(logits[0], label),
        }

    def networks(state):
        return network.freeze('student', student, state.student) | network.freeze(
            'teacher', teacher, state.teacher
        )

    return Algorithm(init, update, networks)
