"""Knowledge distillation (Hinton et al., arXiv 1503.02531)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward
from mpl.models import network
from mpl.models.network import Definition, Frozen, Network, Variables


class State(NamedTuple):
    net: Network
    teacher: Variables | None  # None where its logits are in the batch


def make(
    student: Definition,
    teacher: Definition | None = None,
    weight: float = 0.5,
    temperature: float = 4.0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and a trained teacher's predictions as soft labels of every image.

    (1 - weight) * cross-entropy + weight * T^2 * KL(teacher || student), both at temperature T; the
    square keeps the size of the gradient at any T (section 2). The divergence is the mean over
    labeled images and strong views of unlabeled ones, where there are any. A teacher among the
    networks stays as it starts: give it weights by `init_from` with `networks=('teacher',)`. It runs
    in evaluation mode on the views that the student sees. Without one the targets are the logits in
    the batch, which the section `teacher` had computed once from the plain images: no second network
    in memory and no pass through it, but one target for all views of an image. The student learns
    its teacher's errors too.

    Args:
      student: the network.
      teacher: of any architecture, its optimizer is not used; None takes the logits in the batch.
      weight: of the soft labels, from 0 to 1; the true labels have 1 - weight.
      temperature: of both in the divergence.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the student's weights; 0 keeps none.

    Raises:
      ValueError: weight outside of [0, 1], or a temperature outside of [1e-4, 1e4].
    """
    losses.check_temperature('temperature', temperature)
    if not 0 <= weight <= 1:
        raise ValueError(
            f'algorithm.weight is {weight}; give a number from 0 to 1, since the labels have the '
            'weight 1 - weight.'
        )

    def init(key, batch, sizes):
        student_key, teacher_key = jax.random.split(key)
        image = batch['labeled']['image']
        net = network.create(student, student_key, image, ema_decay)
        if teacher is None:
            return State(net, None)
        other = network.create(teacher, teacher_key, image, 0.0)
        return State(net, Variables(other.params, other.batch_stats))

    def teacher_logits(state, batch, views):
        if teacher is None:
            return [batch[name]['logits'] for name in sorted(batch)]
        images = [batch['labeled']['image'], *(batch['unlabeled'][view] for view in views)]
        frozen = Frozen(teacher, state.teacher)
        return [network.predict(frozen, image).logits for image in images]

    def loss(params, state, batch, key):
        label = batch['labeled']['label']
        views = ('strong',) if 'unlabeled' in batch else ()
        outputs, batch_stats = forward(student, params, state.net, batch, key, *views)
        targets = teacher_logits(state, batch, views)
        supervised = losses.cross_entropy(outputs[0].logits, label, label_smoothing)
        divergence = jnp.concatenate(
            [
                losses.kl_divergence(target / temperature, output.logits / temperature)
                for target, output in zip(targets, outputs)
            ]
        )
        soft = temperature**2 * jnp.mean(divergence)
        return (1 - weight) * supervised + weight * soft, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/soft': soft,
                'accuracy/batch': losses.accuracy(outputs[0].logits, label),
            },
        )

    def update(state, batch, step, key):
        gradient, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(
            state.net.params, state, batch, key
        )
        net = network.update(student, state.net, gradient, batch_stats, step, ema_decay)
        return State(net, state.teacher), metrics

    def networks(state):
        frozen = network.freeze('student', student, state.net)
        if teacher is not None:
            frozen['teacher'] = Frozen(teacher, state.teacher)
        return frozen

    return Algorithm(init, update, networks)
