"""Colorization (Zhang, Isola and Efros, arXiv 1603.08511)."""

import jax
import jax.numpy as jnp

from mpl.algorithms import pretext, pretraining
from mpl.algorithms.interface import Algorithm
from mpl.models import network
from mpl.models.network import Definition

GRAY = 5.0  # images whose |a| and |b| never exceed this are gray, and left out


def make(
    student: Definition,
    classifier: Definition,
    layer: str,
    spacing: float = 10.0,
    rebalance: float = 0.5,
    memory_decay: float = 0.99,
    ema_decay: float = 0.0,
    labeled_weight: float = 0.0,
    probe_rate: float = 0.1,
) -> Algorithm:
    """The color at each position of the trunk's last maps from the gray image: one of Q bins of ab.

    Cross-entropy against a soft code of the color there, of the image resized to the maps (section 2.2). A position has the
    weight 1 / ((1 - rebalance) p + rebalance / Q) of the bin of its color, where p is the share of the bin,
    and the mean weight of all bins' colors is 1 (equation 4). The paper has p of ImageNet; here it is a moving
    average over the batches' colored images that starts from the uniform one. Gray images are left out. It needs views
    'colorization', which turn the images gray and keep their colors.

    Args:
      student: the trunk; it gets gray images in three channels.
      classifier: the head, applied at each position as 1x1 convolutions; Q outputs.
      layer: of the trunk, by path ('activate' of wide_resnet), whose maps [B, h, w, C] the head gets; C is the
        width of the features.
      spacing: of the bins, in units of a and b; 10 gives the paper's grid.
      rebalance: from 0, rare colors weigh most, to 1, no weights.
      memory_decay: of the average of p.
      ema_decay, labeled_weight, probe_rate: as in rotation.py.

    Raises:
      ValueError: rebalance is not in (0, 1], or spacing is not from 2 to 50.
    """
    if not 0 < rebalance <= 1:
        raise ValueError(f'algorithm.rebalance is {rebalance}; give a number above 0, up to 1.')
    if not 2 <= spacing <= 50:
        raise ValueError(f'algorithm.spacing is {spacing}; give a number from 2 to 50.')
    bins = pretext.color_bins(spacing)
    chain = {'student': student, 'classifier': classifier}

    def memory(key, batch, width, sizes):
        return jnp.full(len(bins), 1 / len(bins))

    def loss(params, state, batch, step, key):
        image, color = pretraining.views(batch, 'view_0', 'color')
        key, head_key = jax.random.split(key)
        stats = pretraining.statistics(state)
        maps, stats['student'] = network.forward_layer(
            student, params['student'], stats['student'], key, image, layer
        )
        if maps.ndim != 4:
            raise ValueError(
                f'algorithm.layer is {layer!r}, whose outputs {maps.shape[1:]} of an image have no '
                'positions; give a layer of convolutions.'
            )
        (found,), stats['classifier'] = network.forward(
            classifier, params['classifier'], stats['classifier'], head_key, maps
        )
        pretext.check_outputs(found.logits, len(bins), 'one for each bin of colors')
        target = pretext.color_codes(jax.image.resize(color, (*maps.shape[:3], 2), 'linear'), bins)
        colored = (jnp.max(jnp.abs(color), (1, 2, 3)) > GRAY).astype(target.dtype)
        kept = jnp.broadcast_to(colored[:, None, None], target.shape[:3])
        count = jnp.maximum(jnp.sum(kept), 1)
        share = jnp.sum(target * kept[..., None], (0, 1, 2)) / count
        share = jnp.where(jnp.any(kept), share, state.memory)
        past = memory_decay * state.memory + (1 - memory_decay) * share
        weight = 1 / ((1 - rebalance) * past + rebalance / len(bins))
        weight = (weight / jnp.sum(past * weight))[jnp.argmax(target, -1)]
        entropy = -jnp.sum(target * jax.nn.log_softmax(found.logits), -1)
        hit = jnp.argmax(found.logits, -1) == jnp.argmax(target, -1)
        metrics = {
            'accuracy/colors': jnp.sum(hit * kept) / count,
            'mask_rate': jnp.mean(colored),
        }
        return jnp.sum(weight * entropy * kept) / count, (stats, past, metrics)

    average = pretraining.Average(ema_decay)
    labels = pretraining.Labels(labeled_weight, probe_rate)
    return pretraining.from_loss(loss, chain, average, labels, memory)
