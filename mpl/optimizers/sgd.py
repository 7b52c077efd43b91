"""Stochastic gradient descent with momentum."""

import optax

from mpl.optimizers import bias, clip, decay, parts, schedules


def make(
    steps: int,
    learning_rate: float,
    schedule: str = 'cosine',
    warmup_steps: int = 0,
    wait_steps: int = 0,
    momentum: float = 0.9,
    nesterov: bool = True,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    backbone_rate: float = 1.0,
    layer_decay: float = 1.0,
    trained: tuple = (),
    bias_rate: float = 1.0,
) -> optax.GradientTransformation:
    """SGD in the order of the released MPL code: decay, clip, momentum, rate.

    Unlike here, that code decays the biases of dense layers too.

    Args:
      steps: of the run, the length of the schedule.
      learning_rate: the peak; see `schedules.learning_rate` for the schedule.
      schedule: 'cosine', 'linear', 'cosine_part' or 'constant'.
      warmup_steps: steps of linear rise.
      wait_steps: steps at rate 0 before it.
      momentum: 0 for none.
      nesterov: Nesterov's form of momentum.
      weight_decay: times the kernels (see `decay.add`), added to the gradient.
      clip_norm: maximum global norm of gradient and decay together; 0 for none.
      backbone_rate: factor of the rate of all but the head; 0 freezes it (see `backbone.scale`).
      layer_decay: factor of the rate from a layer to the one before it (see `layers.scale`).
      trained: names of the layers or parameters that are trained, () for all (see `parts.find`).
      bias_rate: factor of the rate of biases (see `bias.scale`).
    """
    rate = schedules.learning_rate(learning_rate, schedule, steps, warmup_steps, wait_steps)
    optimizer = optax.chain(
        decay.add(weight_decay),
        clip.by_global_norm(clip_norm),
        optax.trace(momentum, nesterov) if momentum else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )
    optimizer = bias.scale(optimizer, bias_rate)
    return parts.tune(optimizer, backbone_rate, layer_decay, trained)
