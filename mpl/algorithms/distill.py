"""Knowledge distillation (Hinton et al., arXiv 1503.02531)."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward
from mpl.models import network
from mpl.models.network import Definition, Frozen, Network, Variables


class State(NamedTuple):
    """The student, and the fixed variables of its teacher."""

    net: Network
    teacher: Variables | None  # None if its logits are in the batch


def make(
    student: Definition,
    teacher: Definition | None = None,
    weight: float = 0.5,
    temperature: float = 4.0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and a trained teacher's predictions as soft labels of all images.

    (1 - weight) * cross-entropy + weight * T^2 * KL(teacher || student), both at temperature T. The
    factor T^2 keeps the scale of the gradient at any T (section 2). The divergence is the mean over
    labeled images and, if there are any, strong views of unlabeled images.

    A teacher among the networks keeps its initial weights: set them by `init_from` with
    `networks=('teacher',)`. It runs in evaluation mode on the same views as the student. Without a
    teacher network the targets are the logits in the batch, which the section `teacher` computed
    once from the images without augmentation: one network less in memory and no pass through it, but
    the same target for all views of an image. The student also reproduces its teacher's errors.

    Args:
      student: the network.
      teacher: a network of any architecture, whose optimizer is not used; None takes the logits in
        the batch.
      weight: of the soft labels, from 0 to 1; the true labels have 1 - weight.
      temperature: of both distributions in the divergence.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the student's weights; 0 keeps no average.

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
        teacher_net = network.create(teacher, teacher_key, image, 0.0)
        return State(net, Variables(teacher_net.params, teacher_net.batch_stats))

    def teacher_logits(state, batch, views):
        if teacher is None:
            parts = [batch['labeled'], *(batch['unlabeled'] for _ in views)]
            return [part['logits'] for part in parts]
        images = [batch['labeled']['image'], *(batch['unlabeled'][view] for view in views)]
        frozen = Frozen(teacher, state.teacher)
        return [network.predict(frozen, image).logits for image in images]

    def loss(params, state, batch, key):
        label = batch['labeled']['label']
        views = ('strong',) if 'unlabeled' in batch else ()
        outputs, batch_stats = forward(student, params, state.net, batch, key, *views)
        targets = teacher_logits(state, batch, views)
        supervised = losses.cross_entropy(outputs[0].logits, label, label_smoothing)
        soft = soft_loss(targets, [output.logits for output in outputs], temperature)
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


def soft_loss(targets: list[jax.Array], logits: list[jax.Array], temperature: float) -> jax.Array:
    """T^2 KL(teacher || student) of logits [B, K] of each part, both at temperature T; the mean over all images."""
    divergence = [
        losses.kl_divergence(target / temperature, output / temperature)
        for target, output in zip(targets, logits, strict=True)
    ]
    return temperature**2 * jnp.mean(jnp.concatenate(divergence))
