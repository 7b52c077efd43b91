"""The step of a student and its teacher: pseudo-labels one way, the feedback the other.

Pham et al., arXiv 2003.10580, section 2; notation as in mpl/algorithms/feedback.py.
"""

from collections.abc import Callable
from functools import partial

import flax
import jax
import jax.numpy as jnp

from mpl.algorithms.interface import Algorithm, Batch, Metrics
from mpl.models import network
from mpl.models.network import Definition, Network


@flax.struct.dataclass
class State:
    """The state of an algorithm whose teacher is trained with the feedback."""

    teacher: Network
    student: Network
    baseline: jax.Array  # float32 scalar: moving average of the feedback h


def from_loss(
    teacher: Definition,
    student: Definition,
    teacher_image: Callable,
    teacher_logits: Callable,
    teacher_loss: Callable,
    student_step: Callable,
    view: int,
    ema_decay: float,
    roles: tuple[str, ...],
) -> Algorithm:
    """The algorithm of a student on pseudo-labels, and of a teacher that minimizes one loss.

    Args:
      teacher: the network of the pseudo-labels.
      student: the network trained on them.
      teacher_image: batch -> the labeled images [B, H, W, C] as the teacher sees them.
      teacher_logits: (params, state, batch, key) -> (the teacher's logits [B, K] for each part of the batch,
        batch statistics).
      teacher_loss: (these logits, batch, step, StudentStep) -> (scalar, metrics).
      student_step: as `student_step.build` returns it.
      view: index of the part whose logits give the pseudo-labels.
      ema_decay: decay of the average of the student's weights; 0 keeps no average.
      roles: of the networks to evaluate, among 'student' and 'teacher'.
    """
    definitions = {'student': student, 'teacher': teacher}

    def init(key, batch, sizes):
        teacher_key, student_key = jax.random.split(key)
        return State(
            network.create(teacher, teacher_key, teacher_image(batch), 0.0),
            network.create(student, student_key, batch['labeled']['image'], ema_decay),
            jnp.zeros((), jnp.float32),
        )

    def networks(state):
        frozen = {}
        for role in roles:
            frozen |= network.freeze(role, definitions[role], getattr(state, role))
        return frozen

    step = partial(update, teacher, teacher_logits, teacher_loss, student_step, view)
    return Algorithm(init, step, networks)


def update(
    teacher: Definition,
    teacher_logits: Callable,
    teacher_loss: Callable,
    student_step: Callable,
    view: int,
    state: State,
    batch: Batch,
    step: jax.Array,
    key: jax.Array,
) -> tuple[State, Metrics]:
    """One step of both networks: the student on pseudo-labels, then the teacher with the feedback.

    The teacher has one forward pass, for the pseudo-labels, and one backward pass after the student
    step.

    Args:
      teacher, teacher_logits, teacher_loss, student_step, view: see `from_loss`.
      state: before the step.
      batch: of the step.
      step: int32.
      key: of the step.
    """
    teacher_key, *keys = jax.random.split(key, 4)

    def forward(params):
        return teacher_logits(params, state, batch, teacher_key)

    logits, logits_vjp, batch_stats = jax.vjp(forward, state.teacher.params, has_aux=True)
    after = student_step(state.student, state.baseline, batch, logits[view], step, keys)
    cotangent, metrics = jax.grad(teacher_loss, has_aux=True)(logits, batch, step, after)
    (gradient,) = logits_vjp(cotangent)
    net = network.update(teacher, state.teacher, gradient, batch_stats, step, 0.0)
    return State(net, after.student, after.baseline), metrics | after.metrics
