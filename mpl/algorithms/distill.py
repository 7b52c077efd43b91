"""Knowledge distillation (Hinton et al., arXiv 1503.02531)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpl import losses, network
from mpl.algorithm import Algorithm
from mpl.network import Definition, Frozen, Network, Variables


class Distilling(NamedTuple):
    net: Network
    teacher: Variables


def make(
    student: Definition,
    teacher: Definition,
    weight: float = 0.5,
    temperature: float = 4.0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and what a trained teacher says of every image as soft labels.

    (1 - weight) * cross-entropy + weight * T^2 * divergence, the square so that gradients of the
    soft labels keep their size at any temperature T (section 2). The teacher stays as it starts:
    give it weights by `init_from` with `networks=('teacher',)`. It is asked in evaluation mode,
    about the very views that the student sees: the labeled images, and the strong views of
    unlabeled ones where there are any. A student follows its teacher's errors too.

    Args:
      student: the network.
      teacher: of any architecture; its optimizer is not used.
      weight: of the teacher's labels; those of people have 1 - weight.
      temperature: of both in the divergence.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the student's weights; 0 keeps none.
    """

    def init(key, batch, sizes):
        student_key, teacher_key = jax.random.split(key)
        image = batch['labeled']['image']
        net = network.create(teacher, teacher_key, image, 0.0)
        return Distilling(
            network.create(student, student_key, image, ema_decay),
            Variables(net.params, net.batch_stats),
        )

    def loss(params, state, batch, key):
        image, label = batch['labeled']['image'], batch['labeled']['label']
        images = [image] + ([batch['unlabeled']['strong']] if 'unlabeled' in batch else [])
        seen, batch_stats = network.forward(student, params, state.net.batch_stats, key, *images)
        said = [network.predict(Frozen(teacher.model, state.teacher), one) for one in images]
        supervised = losses.cross_entropy(seen[0].logits, label, label_smoothing)
        taught = jnp.concatenate(
            [
                losses.divergence(there.logits / temperature, here.logits / temperature)
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
        return network.freeze('student', student, state.net) | {
            'teacher': Frozen(teacher.model, state.teacher)
        }

    return Algorithm(init, update, networks)
