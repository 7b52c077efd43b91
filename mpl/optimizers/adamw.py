"""Adam with decoupled weight decay."""

import optax

from mpl.optimizers import backbone, clip, decay, schedules


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
) -> optax.GradientTransformation:
    """AdamW (arXiv 1711.05101, algorithm 2) in the form of Optax and PyTorch.

    The decay is multiplied by the rate, peak included; in the paper by the schedule alone. Where
    the student of MPL has it, there is hardly any feedback at first, see mpl/algorithms/feedback.py.

    Args:
      steps: of the run, which the schedule spans.
      learning_rate: the peak; see `schedules.learning_rate` for the schedule.
      schedule: 'cosine', 'cosine_part' or 'constant'.
      warmup_steps: of linear rise.
      wait_steps: at rate 0 before it.
      beta1: decay of the mean of the gradient.
      beta2: decay of the mean of its square.
      epsilon: added to the root of the latter.
      weight_decay: times the kernels (see `decay.add`) and the rate.
      clip_norm: greatest global norm of the gradient; 0 for none.
      backbone_rate: times the rate, for all but the head; 0 freezes it (see `backbone.slow`).

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
    return backbone.slow(optimizer, backbone_rate)
