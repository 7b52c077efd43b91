"""Knowledge distillation (Hinton et al., arXiv 1503.02531)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward
from mpl.models import network
from mpl.models.network import Definition, Frozen, Network, Variables


class Distilling(NamedTuple):
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
    """Cross-entropy on the labels, and what a trained teacher says of every image as soft labels.

    (1 - weight) * cross-entropy + weight * T^2 * divergence, the square so that gradients of the
    soft labels keep their size at any temperature T (section 2). A teacher among the networks
    stays as it starts: give it weights by `init_from` with `networks=('teacher',)`. It is asked in
    evaluation mode, about the very views that the student sees: the labeled images, and the strong
    views of unlabeled ones where there are any. Without one, the logits in the batch are taught,
    which the section `teacher` has had computed, once, of the plain images: no second network in
    memory and no pass through it, but one answer for all views of an image. A student follows its
    teacher's errors too.

    Args:
      student: the network.
      teacher: of any architecture, its optimizer is not used; None takes the logits in the batch.
      weight: of the teacher's labels; those of people have 1 - weight.
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
            return Distilling(net, None)
        other = network.create(teacher, teacher_key, image, 0.0)
        return Distilling(net, Variables(other.params, other.batch_stats))

    def ask(state, batch, views):
        if teacher is None:
            return [batch[name]['logits'] for name in sorted(batch)]
        images = [batch['labeled']['image'], *(batch['unlabeled'][view] for view in views)]
        frozen = Frozen(teacher, state.teacher)
        return [network.predict(frozen, image).logits for image in images]

    def loss(params, state, batch, key):
        label = batch['labeled']['label']
        views = ('strong',) if 'unlabeled' in batch else ()
        seen, batch_stats = forward(student, params, state.net, batch, key, *views)
        said = ask(state, batch, views)
        supervised = losses.cross_entropy(seen[0].logits, label, label_smoothing)
        taught = jnp.concatenate(
            [
                losses.divergence(there / temperature, here.logits / temperature)
                for there, here in zip(said, seen)
            ]
        )
        soft = temperature**2 * jnp.mean(taught)
        return (1 - weight) * supervised + weight * soft, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/soft': soft,
                'accuracy/batch': losses.accuracy(seen[0].logits, label),
            },
        )

    def update(state, batch, step, key):
        gradient, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(
            state.net.params, state, batch, key
        )
        net = network.update(student, state.net, gradient, batch_stats, step, ema_decay)
        return Distilling(net, state.teacher), metrics

    def networks(state):
        frozen = network.freeze('student', student, state.net)
        if teacher is not None:
            frozen['teacher'] = Frozen(teacher, state.teacher)
        return frozen

    return Algorithm(init, update, networks)
