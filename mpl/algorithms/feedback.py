"""The feedback of Meta Pseudo Labels: its estimators, and the teacher objective.

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

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from mpl.algorithms import losses

# Estimator -> kinds of pseudo-labels for which it has a gradient.
LABELS = {
    'exact': ('soft',),
    'per_example': ('sampled',),
    'dot': ('sampled',),
    'cosine': ('sampled',),
    'difference': ('sampled',),
    'off': ('soft', 'sampled'),
}


def check(feedback: str, labels: str) -> None:
    """Raises a ValueError for an unknown estimator, or labels for which it has no gradient."""
    losses.check_choice('feedback', feedback, LABELS)
    if labels not in LABELS[feedback]:
        raise ValueError(
            f'algorithm.labels {labels!r} has no gradient by feedback {feedback!r}; '
            f'set labels to {" or ".join(LABELS[feedback])}.'
        )


def estimate(feedback, labeled_loss, old, new, update_vjp, target_jvp, gradient, target):
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


def teacher_objective(
    feedback: str, target: jax.Array, gain: jax.Array | None, advantage: jax.Array
) -> Callable:
    """teacher's logits [B, K] -> a scalar, which the teacher maximizes; its gradient is the feedback.

    target: the pseudo-labels [B, K]. gain: see `estimate`. advantage: h - b, of the shape of h.
    """

    def objective(logits):
        if feedback == 'off':
            return 0.0
        if feedback == 'exact':
            return jnp.mean(jnp.sum(jax.nn.softmax(logits) * gain, axis=-1))
        return jnp.mean(advantage * jnp.sum(target * jax.nn.log_softmax(logits), axis=-1))

    return objective


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
