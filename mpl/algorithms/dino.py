"""DINO (Caron et al., arXiv 2104.14294), for convolutional trunks."""

import jax
import jax.numpy as jnp

from mpl.algorithms import contrast, losses, pretraining, target_network
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    projector: Definition,
    temperature: float = 0.1,
    target_temperature: float = 0.04,
    center_decay: float = 0.9,
    freeze_steps: int = 0,
    ema_decay: float = 0.996,
    ema_steps: int = 0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """The distribution of outputs for a view approaches the averaged network's for another.

    Centering keeps one output from dominating, sharpening (target_temperature < temperature) keeps the
    outputs from becoming uniform. The average sees view_0 and view_1, the student also the small crops;
    views of one size share a pass and its batch statistics, as in the released code. Running statistics are
    those of view_0 and view_1 alone, which the average sees, as it would in evaluation. It fails at a
    loss of log(K) for K outputs: then the outputs are uniform; lower target_temperature, or give
    fewer outputs for small data.

    Args:
      student: the trunk.
      projector: its head, of K outputs, in the paper with `prototypes`.
      temperature, target_temperature: of the distributions of the student and of the average.
      center_decay: of the moving average of the average's outputs, which is subtracted from them.
      freeze_steps: steps without a gradient of the prototypes; in the released code the first
        epoch.
      ema_decay: decay of the averages of trunk and projector at first; above 0.
      ema_steps: steps over which it rises to 1 by a cosine; 0 for a constant decay.
      labeled_weight, probe_rate: as in simclr.py.

    Raises:
      ValueError: ema_decay is 0.
    """
    losses.check_temperature('temperature', temperature)
    losses.check_temperature('target_temperature', target_temperature)
    chain = {'student': student, 'projector': projector}
    average = target_network.average(ema_decay, ema_steps)

    def freeze(head, step):
        """The projector's parameters, in which the prototypes have no gradient at first."""
        if 'prototypes' not in head:
            return head

        def fix(leaf):
            return jnp.where(step < freeze_steps, jax.lax.stop_gradient(leaf), leaf)

        return head | {'prototypes': jax.tree.map(fix, head['prototypes'])}

    def loss(params, state, batch, step, key):
        views = pretraining.views(batch, 'view_0', 'view_1')
        small = pretraining.all_views(batch, 'small_')
        params = params | {'projector': freeze(params['projector'], step)}
        found, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, *views, joined=True
        )
        outputs = found['projector']
        if small:
            found, _ = pretraining.forward(chain, params, stats, key, *small, joined=True)
            outputs = outputs + found['projector']
        teacher = target_network.encode(chain, state, key, 'batch', *views, joined=True)
        value = contrast.self_distillation(
            outputs, teacher, state.memory, temperature, target_temperature
        )
        mean = sum(jnp.mean(t, 0) for t in teacher) / len(teacher)
        center = center_decay * state.memory + (1 - center_decay) * mean
        sharp = (teacher[0] - state.memory) / target_temperature
        metrics = {'entropy/target': jnp.mean(losses.entropy(sharp))}
        return value, (stats, center, metrics | contrast.measure(*outputs[:2]))

    def memory(key, batch, width, sizes):
        return jnp.zeros(width)

    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels, memory)
