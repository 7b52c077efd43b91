"""Target networks: the averaged trunk and projector of BYOL, MoCo and similar rules, and their outputs."""

import jax

from mpl.algorithms import pretraining
from mpl.algorithms.pretraining import Average, Chain, State

STATISTICS = ('averaged', 'batch')


def average(decay: float, steps: int) -> Average:
    """The average of trunk and projector; its decay rises over `steps`, see pretraining.Average.

    Raises:
      ValueError: decay is 0 or 1, or outside of them.
    """
    if not 0 < decay < 1:
        raise ValueError(
            f'algorithm.ema_decay is {decay}; give the decay of the target network, above 0 and below 1, such '
            'as 0.99.'
        )
    return Average(decay, ('student', 'projector'), steps, target=True)


def encode(
    chain: Chain,
    state: State,
    key: jax.Array,
    statistics: str,
    *images: jax.Array,
    joined: bool = False,
) -> list[jax.Array]:
    """The averaged networks' outputs for each view [B, D], without a gradient.

    Args:
      chain: the networks of the pass, by role; all have an average.
      state: of the rule.
      key: for dropout.
      statistics: 'batch' passes in training mode, with the statistics of the batch; 'averaged' in evaluation mode
        (EMAN, arXiv 2101.08482).
      *images: views [B, H, W, C].
      joined: see pretraining.forward; for 'batch' alone.
    """
    averaged = {role: state.nets[role].ema for role in chain}
    if statistics == 'averaged':
        return [pretraining.predict(chain, averaged, image) for image in images]
    params = {role: found.params for role, found in averaged.items()}
    stats = {role: found.batch_stats for role, found in averaged.items()}
    outputs, _ = pretraining.forward(chain, params, stats, key, *images, joined=joined)
    return jax.lax.stop_gradient(outputs[list(chain)[-1]])
