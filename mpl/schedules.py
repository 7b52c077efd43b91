"""Numbers as functions of the step."""

import jax
import jax.numpy as jnp
import optax


def ramp(step: jax.Array, steps: int) -> jax.Array:
    """min(1, step / steps), float32; 1 from the start where steps is 0."""
    if steps == 0:
        return jnp.ones((), jnp.float32)
    return jnp.minimum(1.0, step / steps).astype(jnp.float32)


def learning_rate(
    peak: float,
    shape: str,
    steps: int,
    warmup_steps: int,
    wait_steps: int,
    fall: float = 1.0,
    fall_steps: int = 1,
) -> optax.Schedule:
    """0 for wait_steps, linear up to peak over warmup_steps, then as `shape` says.

    Args:
      peak: the greatest rate.
      shape: 'constant', 'cosine' which reaches 0 after `steps` in all, or
        'exponential', peak * fall^n after n times fall_steps, counted from the end of
        the wait, as EfficientNet's does (where warm-up ends late, below the peak).
      steps: of the whole training, wait and warm-up included.
      warmup_steps: the rate at the first of them is peak / warmup_steps, as in the
        released MPL code, so that no step is lost at rate 0.
      wait_steps: before the warm-up; MPL's student waits for its teacher.
      fall: between 0 and 1 for 'exponential', and without effect on the others.
      fall_steps: likewise, at least 1.

    Raises:
      ValueError: unknown shape, no step left after wait and warm-up, or no fall.
    """
    if shape not in ('constant', 'cosine', 'exponential'):
        raise ValueError(
            f"optimizer: schedule {shape!r} is unknown; choose 'constant', 'cosine' or "
            "'exponential'."
        )
    if shape == 'exponential' and not (0 < fall < 1 and fall_steps >= 1):
        raise ValueError(
            f'optimizer: an exponential schedule with fall {fall} every {fall_steps} steps does '
            'not fall; give a fall between 0 and 1 and 1 step or more, which rmsprop takes.'
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
            'exponential': lambda: fall ** (since // fall_steps),
        }[shape]()
        return jnp.where(since < 0, 0.0, peak * jnp.where(since < warmup_steps, rise, share))

    return schedule
