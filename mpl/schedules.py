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
    peak: float, shape: str, steps: int, warmup_steps: int, wait_steps: int
) -> optax.Schedule:
    """0 for wait_steps, linear up to peak over warmup_steps, then as `shape` says.

    Args:
      peak: the greatest rate.
      shape: 'constant', or 'cosine' which reaches 0 after `steps` in all.
      steps: of the whole training, wait and warm-up included.
      warmup_steps: the rate at the first of them is peak / warmup_steps, as in the
        released MPL code, so that no step is lost at rate 0.
      wait_steps: before the warm-up; MPL's student waits for its teacher.

    Raises:
      ValueError: unknown shape, or no step left after wait and warm-up.
    """
    if shape not in ('constant', 'cosine'):
        raise ValueError(
            f"optimizer: schedule {shape!r} is unknown; choose 'constant' or 'cosine'."
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
        fall = 0.5 * (1 + jnp.cos(jnp.pi * done)) if shape == 'cosine' else 1.0
        return jnp.where(since < 0, 0.0, peak * jnp.minimum(rise, 1.0) * fall)

    return schedule
