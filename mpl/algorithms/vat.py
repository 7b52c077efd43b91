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
    """Cross-entropy on the labels, and consistency under a small adversarial perturbation.

    The divergence is KL(prediction || prediction of the perturbed image), without a gradient through
    its first argument, averaged over weak views of the unlabeled images (the paper averages over
    labeled images too). Running batch statistics are those of the pass over clean images. Weight and
    radius are those of the released FixMatch code, whose images lie between -1 and 1. A radius
    beyond the distance of two classes removes the boundary between them; one that is too small has
    no effect.

    Args:
      student: the network.
      weight: of the divergence.
      radius: L2 norm of the perturbation of an image, in the units of the network's input.
      iterations: of the power method for the adversarial direction.
      entropy_weight: of the entropy of predictions (VAT + EntMin has 0.06 in that code).
      ramp_steps: steps over which the weight of the divergence rises linearly from 0.
      label_smoothing: share of each true label that is spread over all classes.
      ema_decay: decay of the average of the weights; 0 keeps no average.
    """

    def loss(params, net, batch, step, key):
        image, label = batch['labeled']['image'], batch['labeled']['label']
        weak = batch['unlabeled']['weak']
        direction_key, key = jax.random.split(key)

        def outputs(params, unlabeled_image):
            # Joined with the labeled images and with the same dropout mask in both passes, so that
            # predictions differ by the perturbation alone.
            return network.forward(student, params, net.batch_stats, key, image, unlabeled_image)

        (labeled, clean), batch_stats = outputs(params, weak)
        perturbation = radius * adversarial_direction(
            lambda x: outputs(jax.lax.stop_gradient(params), x)[0][1].logits,
            weak,
            direction_key,
            iterations,
        )
        (_, perturbed), _ = outputs(params, weak + perturbation)
        supervised = losses.cross_entropy(labeled.logits, label, label_smoothing)
        unlabeled = jnp.mean(
            losses.kl_divergence(jax.lax.stop_gradient(clean.logits), perturbed.logits)
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
    """Perturbations of images [B, H, W, C], each of norm 1, that change predictions the most.

    The power method on the Hessian of the summed divergence at perturbation 0 (section 3.3). With
    batch norm it couples the images of a batch, as in the released code. At 0 the Hessian is
    J^T (diag(p) - p p^T) J, where J is the Jacobian of the logits, so its products are exact. The
    paper takes the difference of gradients over a step of 1e-6, which is lost in bfloat16.
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
    """Each image divided by its norm; an image of zeros stays.

    It is first divided by the power of two above its largest magnitude, so that no square
    underflows: the gradient at a prediction of probability 1 - 1e-20 is about 1e-20. This changes
    no other bit.
    """
    x = x * losses.power_of_two(jnp.max(jnp.abs(x), axis=(1, 2, 3), keepdims=True))
    length = jnp.sqrt(jnp.sum(x**2, axis=(1, 2, 3), keepdims=True))
    return x / jnp.where(length > 0, length, 1)
