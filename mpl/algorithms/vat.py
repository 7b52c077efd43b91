"""Virtual adversarial training (Miyato et al., arXiv 1704.03976)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, from_loss
from mpl.models import network
from mpl.models.network import Definition
from mpl.optimizers import schedules


def make(
    student: Definition,
    weight: float = 0.3,
    radius: float = 6.0,
    iterations: int = 1,
    entropy_weight: float = 0.0,
    ramp_steps: int = 0,
    label_smoothing: float = 0.0,
    ema_decay: float = 0.0,
) -> Algorithm:
    """Cross-entropy on the labels, and predictions that do not move with the worst small change.

    The divergence is KL(prediction || prediction of the changed image), its first argument without
    gradient, averaged over weak views of the unlabeled images (the paper averages over labeled
    images too). Running batch statistics are those of the pass over unchanged images. Weight and
    radius are those of the released FixMatch code, whose images lie between -1 and 1. A radius
    beyond the distance of classes smooths them away; one that is too small does nothing.

    Args:
      student: the network.
      weight: of the divergence.
      radius: length of the change of an image, in the units the network sees.
      iterations: of the power method that finds the worst direction.
      entropy_weight: of the entropy of predictions (VAT + EntMin has 0.06 in that code).
      ramp_steps: over which the weight of the divergence rises linearly from 0.
      label_smoothing: part of each true label spread over all classes.
      ema_decay: of the average of the weights; 0 keeps none.
    """

    def loss(params, net, batch, step, key):
        image, label = batch['labeled']['image'], batch['labeled']['label']
        seen = batch['unlabeled']['weak']
        direction_key, key = jax.random.split(key)

        def outputs(params, seen):
            # Always beside the labeled images, and with the same units dropped, so that
            # predictions differ by the change alone.
            return network.forward(student, params, net.batch_stats, key, image, seen)

        (labeled, clean), batch_stats = outputs(params, seen)
        change = radius * adversarial_direction(
            lambda x: outputs(jax.lax.stop_gradient(params), x)[0][1].logits,
            seen,
            direction_key,
            iterations,
        )
        (_, moved), _ = outputs(params, seen + change)
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        unlabeled = jnp.mean(
            losses.kl_divergence(jax.lax.stop_gradient(clean.logits), moved.logits)
        )
        entropy = jnp.mean(losses.entropy(clean.logits))
        total = supervised + weight * schedules.ramp(step, ramp_steps) * unlabeled
        return total + entropy_weight * entropy, (
            batch_stats,
            {
                'loss/labeled': supervised,
                'loss/unlabeled': unlabeled,
                'entropy': entropy,
                'accuracy/batch': losses.accuracy(labeled.logits, label),
            },
        )

    return from_loss(loss, student, ema_decay)


def adversarial_direction(
    logits: Callable[[jax.Array], jax.Array], image: jax.Array, key: jax.Array, iterations: int
) -> jax.Array:
    """Unit changes, each [H, W, C], of images [B, H, W, C] that move predictions most.

    The power method on the Hessian of the summed divergence at no change (section 3.3); with batch
    norm the images of a batch are coupled in it, as in the released code. There it is
    J^T (diag(p) - p p^T) J with J the Jacobian of the logits, so its products are exact, where
    the paper takes the difference of gradients over a step of 1e-6, which is lost in bfloat16.
    """
    direction = _normalize(jax.random.normal(key, image.shape, image.dtype))
    for _ in range(iterations):
        value, backward = jax.vjp(logits, image)
        _, forward = jax.jvp(logits, (image,), (direction,))
        p = jax.nn.softmax(value)
        (direction,) = backward(p * (forward - jnp.sum(p * forward, -1, keepdims=True)))
        direction = _normalize(direction)
    return jax.lax.stop_gradient(direction)


def _normalize(x):
    """Each image divided by its length; zeros stay.

    First by the power of two above its greatest number, so that no square underflows: the
    gradient at a prediction of probability 1 - 1e-20 is about 1e-20. It changes no other bit.
    """
    _, exponent = jnp.frexp(jnp.max(jnp.abs(x), axis=(1, 2, 3), keepdims=True))
    x = jnp.ldexp(x, -exponent)
    length = jnp.sqrt(jnp.sum(x**2, axis=(1, 2, 3), keepdims=True))
    return x / jnp.where(length > 0, length, 1)
