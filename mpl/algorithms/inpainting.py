"""Inpainting by a context encoder (Pathak et al., arXiv 1604.07379), the L2 form."""

import jax.numpy as jnp

from mpl.algorithms import pretext, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models.network import Definition


def make(
    student: Definition,
    decoder: Definition,
    hole: int,
    overlap: int = 0,
    overlap_weight: float = 10.0,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """The center of an image from the rest, by the mean squared error of standardized pixels.

    The adversarial term of the paper, a thousandth of its loss, is left out: the released features are of L2
    alone. The decoder has the features of the trunk, one vector, as the paper's decoder has its bottleneck.
    Published: 128 pixels, hole 64, overlap 4.

    Args:
      student: the trunk.
      decoder: the head; outputs are the pixels of the hole, rows by columns by channels.
      hole: height and width of the square that is predicted, in pixels.
      overlap: pixels at its rim that the trunk sees, so that the square continues the image.
      overlap_weight: of these in the loss; 10 in the released code.
      ema_decay, labeled_weight, probe_rate: as in rotation.py.
    """
    chain = {'student': student, 'decoder': decoder}

    def loss(params, state, batch, step, key):
        (image,) = pretraining.views(batch, 'view_0')
        masked, square, hidden = pretext.cut_hole(image, hole, overlap)
        outputs, stats = pretraining.forward(
            chain, params, pretraining.statistics(state), key, masked
        )
        (pixels,) = outputs['decoder']
        pretext.check_outputs(pixels, square[0].size, 'one for each value of the hole')
        error = (pixels.reshape(square.shape) - square) ** 2
        weight = jnp.where(hidden, 1.0, overlap_weight)[..., None]
        squared = jnp.sum(jnp.mean(error, (0, 3)) * hidden) / jnp.sum(hidden)
        return jnp.mean(weight * error), (stats, (), {'loss/hole': squared})

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels)
