"""The one interface of all learning rules, and the short way to write most of them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from mpl.models import network
from mpl.models.network import Definition, Frozen, Network, Outputs

Batch = dict[str, dict[str, jax.Array]]
Metrics = dict[str, jax.Array]


class Sizes(NamedTuple):
    """Sizes of the data, for rules with a state for each example or class."""

    examples: int  # in the training pool; their indices are 0, ..., examples - 1
    unlabeled: int  # of them that may be drawn as unlabeled; no shape may depend on it
    classes: int


class Algorithm(NamedTuple):
    """A learning rule as three pure functions.

    A batch is {'labeled': {image, label, index}, 'unlabeled': {weak, strong,
    index}}: images and views float32 [B, H, W, C], label int32 [B], index int32
    [B], of the examples in their source. Unlabeled examples carry no label.
    'unlabeled' is absent where the config draws no unlabeled images.

    Where the config has a teacher, both have `logits` too, float32 [B, K]: the teacher's outputs
    for the plain images, computed before the run, whatever views of them are in the batch. Without
    one, and for labeled images that are mixed, the key is absent.
    """

    init: Callable[[jax.Array, Batch, Sizes], Any]  # (key, batch, sizes) -> state
    update: Callable[[Any, Batch, jax.Array, jax.Array], tuple[Any, Metrics]]
    # ^ (state, batch, step, key) -> (state, {name: float32 scalar})
    networks: Callable[[Any], dict[str, Frozen]]  # those worth measuring, by name


def predict(algorithm: Algorithm, state: Any, image: jax.Array) -> dict[str, Outputs]:
    """The outputs of each network of the algorithm for image [B, H, W, C], in evaluation mode."""
    return {
        name: network.predict(frozen, image) for name, frozen in algorithm.networks(state).items()
    }


def forward(
    student: Definition, params: Any, net: Network, batch: Batch, key: jax.Array, *views: str
) -> tuple[tuple[Outputs, ...], Any]:
    """`network.forward` over the labeled images and these views of the unlabeled ones, joined.

    So batch statistics, running ones included, are over all of them. The released FixMatch code
    joins them for FixMatch and UDA; its pseudo-label, Pi-model, mean teacher and VAT have a pass for
    each view, and running statistics of the labeled images alone.

    Returns:
      The outputs for the labeled images and then for each view, and the batch statistics
      after the pass.
    """
    images = [batch['labeled']['image'], *(batch['unlabeled'][view] for view in views)]
    return network.forward(student, params, net.batch_stats, key, *images)


class WithMemory(NamedTuple):
    """The state of a rule that has one beside that of its network."""

    net: Network
    memory: Any


def from_loss(loss: Callable, student: Definition, ema_decay: float) -> Algorithm:
    """The learning rule that descends one loss of one network.

    Args:
      loss: (params, net, batch, step, key) -> (scalar, (batch_stats, metrics)),
        where net is the network before the step.
      student: the network.
      ema_decay: of the average of its weights; 0 keeps none.
    """

    def init(key, batch, sizes):
        return network.create(student, key, batch['labeled']['image'], ema_decay)

    def update(net: Network, batch, step, key):
        gradient, (batch_stats, metrics) = jax.grad(loss, has_aux=True)(
            net.params, net, batch, step, key
        )
        net = network.update(student, net, gradient, batch_stats, step, ema_decay)
        return net, metrics

    def networks(net):
        return network.freeze('student', student, net)

    return Algorithm(init, update, networks)


def from_loss_with_memory(
    loss: Callable, student: Definition, ema_decay: float, memory: Callable[[Sizes], Any]
) -> Algorithm:
    """`from_loss` for a rule with a state of its own: thresholds, predictions.

    Args:
      loss: (params, net, memory, batch, step, key) -> (scalar, (batch_stats, metrics,
        memory)), where net and memory are those before the step.
      student, ema_decay: as in `from_loss`.
      memory: that state before the first step, a tree of arrays.
    """

    def init(key, batch, sizes):
        net = network.create(student, key, batch['labeled']['image'], ema_decay)
        return WithMemory(net, memory(sizes))

    def update(state: WithMemory, batch, step, key):
        gradient, (batch_stats, metrics, kept) = jax.grad(loss, has_aux=True)(
            state.net.params, state.net, state.memory, batch, step, key
        )
        net = network.update(student, state.net, gradient, batch_stats, step, ema_decay)
        return WithMemory(net, jax.lax.stop_gradient(kept)), metrics

    def networks(state):
        return network.freeze('student', student, state.net)

    return Algorithm(init, update, networks)
