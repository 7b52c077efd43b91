"""LARS, layer-wise adaptive rates (You et al., arXiv 1708.03888)."""

import jax
import jax.numpy as jnp
import optax

from mpl.optimizers import clip, decay, parts, schedules


def make(
    steps: int,
    learning_rate: float,
    schedule: str = 'cosine',
    warmup_steps: int = 0,
    wait_steps: int = 0,
    momentum: float = 0.9,
    weight_decay: float = 0.0,
    clip_norm: float = 0.0,
    trust: float = 0.001,
    bias_rate: float = 1.0,
    backbone_rate: float = 1.0,
    layer_decay: float = 1.0,
    trained: tuple = (),
) -> optax.GradientTransformation:
    """SGD with momentum in which the step of each kernel is proportional to its length.

    With u = gradient + weight_decay * w, each kernel w takes u * trust * |w| / |u|, or u where a
    length is 0; other parameters take their gradient. Momentum follows, and then the rate: the form
    of the released codes of BYOL, MoCo v3, Barlow Twins and VICReg. In that of SimCLR the rate is
    within the momentum, so that a changing rate acts later. Codes that clip trust * |w| / (|g| +
    weight_decay * |w|) (LARC) take other rates.

    Args:
      steps: of the run, the length of the schedule.
      learning_rate: the peak; see `schedules.learning_rate` for the schedule.
      schedule: 'cosine', 'linear', 'cosine_part' or 'constant'.
      warmup_steps: steps of linear rise.
      wait_steps: steps at rate 0 before it.
      momentum: 0 for none.
      weight_decay: times the kernels (see `decay.add`), added to the gradient.
      clip_norm: maximum global norm of gradient and decay together, before they are adapted; 0 for
        none.
      trust: the factor of the lengths' ratio.
      bias_rate: factor of the rate of biases and scales of norms, that is, of all parameters but kernels.
      backbone_rate: factor of the rate of all but the head; 0 freezes it (see `backbone.scale`).
      layer_decay: factor of the rate from a layer to the one before it (see `layers.scale`).
      trained: names of the layers or parameters that are trained, () for all (see `parts.find`).

    Raises:
      ValueError: trust is not above 0.
    """
    if not trust > 0:
        raise ValueError(f'optimizer: trust is {trust}; give a number above 0, such as 0.001.')
    rate = schedules.learning_rate(learning_rate, schedule, steps, warmup_steps, wait_steps)

    def adapt(u, w):
        of_kernel, of_step = jnp.sum(w * w), jnp.sum(u * u)
        usable = (of_kernel > 0) & (of_step > 0)  # Elsewhere the derivatives are not finite.
        of_kernel, of_step = (jnp.where(usable, square, 1) for square in (of_kernel, of_step))
        return u * jnp.where(usable, trust * jnp.sqrt(of_kernel) * jax.lax.rsqrt(of_step), 1)

    def others(params):
        return jax.tree.map(lambda kernel: not kernel, decay.kernels(params))

    optimizer = optax.chain(
        decay.add(weight_decay),
        clip.by_global_norm(clip_norm),
        optax.masked(
            optax.stateless(lambda update, params: jax.tree.map(adapt, update, params)),
            decay.kernels,
        ),
        optax.masked(optax.scale(bias_rate), others) if bias_rate != 1 else optax.identity(),
        optax.trace(momentum) if momentum else optax.identity(),
        optax.scale_by_learning_rate(rate),
    )
    return parts.tune(optimizer, backbone_rate, layer_decay, trained)
