"""Schedules: scalars as functions of the step."""

import jax
import jax.numpy as jnp
import optax


def ramp(step: jax.Array, steps: int, wait_steps: int = 0) -> jax.Array:
    """0 for wait_steps, then a linear rise to 1 over `steps` (0: at once), float32."""
    since = jnp.asarray(step) - wait_steps
    if steps == 0:
        return (since >= 0).astype(jnp.float32)
    return jnp.clip(since / steps, 0.0, 1.0).astype(jnp.float32)


def gaussian_ramp(step: jax.Array, steps: int) -> jax.Array:
    """exp(-5 (1 - t)^2) for t = min(1, step / steps), float32 (arXiv 1610.02242, section 3.1).

    From 0.0067 to 1; 1 from the start where steps is 0.
    """
    return jnp.exp(-5.0 * (1.0 - ramp(step, steps)) ** 2)


def momentum(step: jax.Array, base: float, steps: int) -> jax.Array | float:
    """1 - (1 - base) (1 + cos(pi step / steps)) / 2: from base at step 0 to 1 (arXiv 2006.07733, 3.2).

    The decay of an averaged target network; `base` throughout where steps is 0.
    """
    if steps == 0:
        return base
    return 1 - (1 - base) * 0.5 * (1 + jnp.cos(jnp.pi * ramp(step, steps)))


# Shapes of training signal annealing, as functions of the share of its steps.
ANNEALING = {
    'linear': lambda t: t,
    'log': lambda t: 1 - jnp.exp(-5 * t),
    'exp': lambda t: jnp.exp(5 * (t - 1)),
}


def signal_annealing(step: jax.Array, steps: int, shape: str, classes: int) -> jax.Array:
    """The probability of the true class above which labels are left out (arXiv 1904.12848, 3.3).

    It rises from 1 / classes to 1 over `steps`. shape: 'linear' in t; 'log', 1 - exp(-5 t), for many
    labels; or 'exp', exp(5 (t - 1)), for few.
    """
    share = ANNEALING[shape](ramp(step, steps))
    return share * (1 - 1 / classes) + 1 / classes


def learning_rate(
    peak: float,
    shape: str,
    steps: int,
    warmup_steps: int,
    wait_steps: int,
    decay_rate: float = 1.0,
    decay_steps: int = 1,
) -> optax.Schedule:
    """A learning rate of 0 for wait_steps, a linear warm-up to peak, then the schedule `shape`.

    Args:
      peak: the maximum rate.
      shape: 'constant'; 'cosine' and 'linear', which reach 0 after `steps` in all; 'cosine_part', that of
        FixMatch (arXiv 2001.07685, section 2.3), peak * cos(7/16 pi t), which ends at 0.195 of the
        peak; or 'exponential', that of EfficientNet, peak * decay_rate^n after n times decay_steps,
        counted from the end of the wait (so a late warm-up ends below the peak).
      steps: of the whole training, wait and warm-up included.
      warmup_steps: the rate at the first of them is peak / warmup_steps, as in the
        released MPL code, so that no step is lost at rate 0.
      wait_steps: steps at rate 0 before the warm-up, in which only MPL's teacher is trained.
      decay_rate: of 'exponential', between 0 and 1; the others ignore it.
      decay_steps: of 'exponential', at least 1.

    Raises:
      ValueError: unknown shape, no step left after wait and warm-up, or no decay.
    """
    if shape not in ('constant', 'cosine', 'linear', 'cosine_part', 'exponential'):
        raise ValueError(
            f"optimizer: schedule {shape!r} is unknown; choose 'constant', 'cosine', "
            "'linear', 'cosine_part' or 'exponential'."
        )
    if shape == 'exponential' and not (0 < decay_rate < 1 and decay_steps >= 1):
        raise ValueError(
            f'optimizer: an exponential schedule with decay_rate {decay_rate} every {decay_steps} '
            'steps does not decay; give a decay_rate between 0 and 1 and decay_steps of 1 or more, '
            'which rmsprop takes.'
        )
    left = steps - warmup_steps - wait_steps
    if left <= 0:
        raise ValueError(
            f'optimizer: wait_steps {wait_steps} and warmup_steps {warmup_steps} leave no '
            f'step of the {steps} of the run; lower them, or raise config.steps.'
        )

    def schedule(count):
        since = count - wait_steps
        rise = (since + 1) / max(warmup_steps, 1)
        done = jnp.clip((since - warmup_steps) / left, 0.0, 1.0)
        share = {
            'constant': lambda: 1.0,
            'cosine': lambda: 0.5 * (1 + jnp.cos(jnp.pi * done)),
            'linear': lambda: 1 - done,
            'cosine_part': lambda: jnp.cos(7 / 16 * jnp.pi * done),
            'exponential': lambda: decay_rate ** (since // decay_steps),
        }[shape]()
        return jnp.where(since < 0, 0.0, peak * jnp.where(since < warmup_steps, rise, share))

    return schedule
