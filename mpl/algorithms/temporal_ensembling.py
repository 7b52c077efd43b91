"""Temporal ensembling (Laine and Aila, arXiv 1610.02242, section 2.2)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, forward, from_loss_with_memory
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 10.0,
    memory_decay: float = 0.6,
    ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and consistency with the average of earlier predictions.

    Each example has a moving average of its predictions, Z <- a Z + (1 - a) z at each visit with
    a = memory_decay, and after n visits the target Z / (1 - a^n), with the paper's bias correction.
    (In the paper each example is visited once per epoch.) Before the first visit there is no target
    and no loss. The paper's loss is over labeled images too: include them in the unlabeled ones. In
    large data sets visits are rare, so targets come from much earlier networks.

    Args:
      student: the network.
      weight: of the squared error of probabilities, which is averaged over classes.
      memory_decay: decay of the averages of predictions, per visit.
      ramp_steps: steps of the Gaussian ramp of the weight; 80 of 300 epochs in the paper.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.

    Raises:
      ValueError: memory_decay is 1, with which no prediction enters an average.
    """
    if memory_decay == 1:
        raise ValueError(
            'algorithm.memory_decay is 1, so that no prediction would enter the averages; give a '
            'number from 0 to below 1, such as 0.6.'
        )

    def loss(params, net, memory, batch, step, key):
        label = batch['labeled']['label']
        index = batch['unlabeled']['index']
        (labeled, view), batch_stats = forward(student, params, net, batch, key, 'weak')
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        # After n visits an average sums to 1 - memory_decay^n, the paper's correction for the start.
        average = memory[index]
        mass = jnp.sum(average, -1, keepdims=True)
        target = average / jnp.maximum(mass, jnp.finfo(mass.dtype).tiny)
        visited = (mass[:, 0] > 0).astype(average.dtype)
        unlabeled = jnp.mean(visited * losses.squared_distance(target, view.logits))
        # Several copies of an example in a batch are one visit, with the mean prediction.
        copies = jnp.zeros(len(memory), memory.dtype).at[index].add(1)[index]
        change = (1 - memory_decay) * (jax.nn.softmax(view.logits) - average) / copies[:, None]
        total = supervised + weight * schedules.gaussian_ramp(step, ramp_steps) * unlabeled
        return total, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'mask_rate': jnp.mean(visited),
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
            memory.at[index].add(change.astype(memory.dtype)),
        )

    def memory(sizes):
        return jnp.zeros((sizes.examples, sizes.classes), jnp.float32)

    return from_loss_with_memory(loss, student, ema_decay, memory)
