"""Adam with decoupled weight decay."""

import optax

from mpl.optimizers import clip, decay, parts, schedules


def make(
    steps: int,
    learning_rate: float,
    schedule: str = 'cosine',
    warmup_steps: int = 0,
    wait_steps: int = 0,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    backbone_rate: float = 1.0,
    layer_decay: float = 1.0,
    trained: tuple = (),
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101, algorithm 2) in the form of Optax and PyTorch.

    The decay is multiplied by the learning rate, peak included; in the paper by the schedule alone.
    With it as the student's optimizer the feedback of MPL is very small at first, see
    mpl/algorithms/feedback.py.

    Args:
      steps: of the run, the length of the schedule.
      learning_rate: the peak; see `schedules.learning_rate` for the schedule.
      schedule: 'cosine', 'linear', 'cosine_part' or 'constant'.
      warmup_steps: steps of linear rise.
      wait_steps: steps at rate 0 before it.
      beta1: decay of the mean of the gradient.
      beta2: decay of the mean of its square.
      epsilon: added to the root of this mean.
      weight_decay: times the kernels (see `decay.add`) and the rate.
      clip_norm: maximum global norm of the gradient; 0 for none.
      backbone_rate: factor of the rate of all but the head; 0 freezes it (see `backbone.scale`).
      layer_decay: factor of the rate from a layer to the one before it (see `layers.scale`).
      trained: names of the layers or parameters that are trained, () for all (see `parts.find`).

    Raises:
      ValueError: a beta outside of [0, 1), or a negative epsilon.
    """
    for name, beta in (('beta1', beta1), ('beta2', beta2)):
        if not 0 <= beta < 1:
            raise ValueError(f'optimizer: {name} is {beta}; give a number from 0 to below 1.')
    if not epsilon >= 0:
        raise ValueError(f'optimizer: epsilon is {epsilon}; give 0 or more.')
    rate = schedules.learning_rate(learning_rate, schedule, steps, warmup_steps, wait_steps)
    # eps_root: MPL differentiates through the step, and the root has no derivative
    # at a gradient of exactly 0.
    optimizer = optax.chain(
        clip.by_global_norm(clip_norm),
        optax.scale_by_adam(beta1, beta2, epsilon, eps_root=1e-20),
        decay.add(weight_decay),
        optax.scale_by_learning_rate(rate),
    )
    return parts.tune(optimizer, backbone_rate, layer_decay, trained)
