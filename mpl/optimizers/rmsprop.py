"""RMSProp with momentum, the optimizer of EfficientNet."""

import optax

from mpl.optimizers import clip, decay, parts, schedules

LEAST_EPSILON = 1e-20


def make(
    steps: int,
    learning_rate: float,
    schedule: str = 'cosine',
    warmup_steps: int = 0,
    wait_steps: int = 0,
    decay_rate: float = 0.97,
    decay_steps: int = 750,
    momentum: float = 0.9,
    square_decay: float = 0.9,
    epsilon: float = 1e-3,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    backbone_rate: float = 1.0,
    layer_decay: float = 1.0,
    trained: tuple = (),
) -> optax.GradientTransformation:
    """RMSProp in TensorFlow's form, that of the released Noisy Student code.

    The mean square starts at 1, epsilon is inside the root, and the learning rate inside the
    momentum: m <- momentum m + rate g / sqrt(square + epsilon).

    Args:
      steps: of the run, the length of the schedule.
      learning_rate: the peak; see `schedules.learning_rate` for the schedule.
      schedule: 'exponential', 'cosine', 'linear', 'cosine_part' or 'constant'.
      warmup_steps: steps of linear rise.
      wait_steps: steps at rate 0 before it.
      decay_rate: factor of an exponential schedule; not used by others.
      decay_steps: steps between two multiplications by decay_rate.
      momentum: 0 for none.
      square_decay: of the mean square of the gradient.
      epsilon: added to that mean square.
      weight_decay: times the kernels (see `decay.add`), added to the gradient.
      clip_norm: maximum global norm of gradient and decay together; 0 for none.
      backbone_rate: factor of the rate of all but the head; 0 freezes it (see `backbone.scale`).
      layer_decay: factor of the rate from a layer to the one before it (see `layers.scale`).
      trained: names of the layers or parameters that are trained, () for all (see `parts.find`).

    Raises:
      ValueError: epsilon is so small that a parameter whose gradient stays 0 would become NaN.
    """
    if not epsilon >= LEAST_EPSILON:
        raise ValueError(
            f'optimizer: epsilon is {epsilon}; give {LEAST_EPSILON} or more, since a mean square '
            'of 0 is divided by its root.'
        )
    rate = schedules.learning_rate(
        learning_rate, schedule, steps, warmup_steps, wait_steps, decay_rate, decay_steps
    )
    optimizer = optax.chain(
        decay.add(weight_decay),
        clip.by_global_norm(clip_norm),
        optax.scale_by_rms(square_decay, epsilon, initial_scale=1.0),
        optax.scale_by_learning_rate(rate),
        optax.trace(momentum) if momentum else optax.identity(),
    )
    return parts.tune(optimizer, backbone_rate, layer_decay, trained)
