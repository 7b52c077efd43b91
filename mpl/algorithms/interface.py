"""The interface of all algorithms, and helpers that build an algorithm from one loss."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from mpl.algorithms import losses
from mpl.models import network
from mpl.models.network import Definition, Frozen, Network, Outputs

TARGET_PASSES = ('separate', 'joined', 'averaged')

Batch = dict[str, dict[str, jax.Array]]
Metrics = dict[str, jax.Array]


class Sizes(NamedTuple):
    """Sizes of the data, for algorithms with a state for each example or class."""

    examples: int  # examples of the training pool; their indices are 0, ..., examples - 1
    unlabeled: int  # examples that may be sampled as unlabeled; no shape may depend on it
    classes: int


class Algorithm(NamedTuple):
    """An algorithm as pure functions.

    A batch is {'labeled': {image, label, index}, 'unlabeled': {views by name, index}}: images and
    views are float32 [B, H, W, C], label is int32 [B], and index, int32 [B], is the index of the
    example in its source. The views are 'weak' and 'strong', or those of self-supervised training,
    'view_0', 'view_1', ... and 'small_0', ... of their own size, and 'color' [B, H, W, 2]. Unlabeled examples have no label.
    A part is absent if the config samples no such images.

    If the config has a teacher, both parts also have `logits`, float32 [B, K]: the teacher's logits
    for the images without augmentation, computed before the run. The key is absent without a
    teacher, and for labeled images that are mixed.
    """

    init: Callable[[jax.Array, Batch, Sizes], Any]  # (key, batch, sizes) -> state
    update: Callable[[Any, Batch, jax.Array, jax.Array], tuple[Any, Metrics]]
    # ^ (state, batch, step, key) -> (state, {name: float32 scalar})
    networks: Callable[[Any], dict[str, Frozen]]  # state -> the networks to evaluate, by name
    # state -> networks on the features of another one, such as projectors, by name
    heads: Callable[[Any], dict[str, Frozen]] = lambda state: {}


def predict(algorithm: Algorithm, state: Any, image: jax.Array) -> dict[str, Outputs]:
    """The outputs of each network of the algorithm for image [B, H, W, C], in evaluation mode."""
    return {
        name: network.predict(frozen, image) for name, frozen in algorithm.networks(state).items()
    }


def forward(
    student: Definition, params: Any, net: Network, batch: Batch, key: jax.Array, *views: str
) -> tuple[tuple[Outputs, ...], Any]:
    """`network.forward` over the labeled images and the given views of the unlabeled images, joined.

    Batch statistics, running statistics included, are over all of these images. The released
    FixMatch code joins the images for FixMatch and UDA; its pseudo-label, Pi-model, mean teacher and
    VAT have one pass per view, and running statistics of the labeled images alone.

    Returns:
      The outputs for the labeled images and then for each view, and the batch statistics
      after the pass.
    """
    images = [batch['labeled']['image'], *(batch['unlabeled'][view] for view in views)]
    return network.forward(student, params, net.batch_stats, key, *images)


def forward_targets(
    student: Definition,
    params: Any,
    net: Network,
    batch: Batch,
    key: jax.Array,
    target_pass: str,
    weak_has_gradient: bool = False,
) -> tuple[tuple[Outputs, Outputs, Outputs], Any]:
    """Passes over the labeled images, the weak views, which give targets, and the strong views.

    Args:
      student: the network.
      params: its parameters.
      net: the network before the step; its running statistics are the first ones.
      batch: of the step.
      key: for dropout.
      target_pass: 'separate': the weak views have a pass of their own, forward only, with their own
        batch statistics; labeled images and strong views are joined, and the running statistics are
        theirs alone: those that the network is trained with (docs/method.md). 'joined': one pass over
        all three, see `forward`, as in the released codes. Its backward pass includes the weak views,
        which add a gradient through the batch statistics alone. 'averaged': as 'separate', but the
        weak views' pass is one of the averaged network in evaluation mode, as in FixMatch with EMAN
        (arXiv 2101.08482, section 3.3).
      weak_has_gradient: whether a separate pass over the weak views has a backward pass.

    Returns:
      The outputs for the labeled images, the weak and the strong views, and the batch statistics.

    Raises:
      ValueError: unknown target_pass, or 'averaged' where there is no average or a gradient is needed.
    """
    losses.check_choice('target_pass', target_pass, TARGET_PASSES)
    if target_pass == 'joined':
        return forward(student, params, net, batch, key, 'weak', 'strong')
    image = batch['unlabeled']['weak']
    if target_pass == 'averaged':
        _check_averaged(net, weak_has_gradient)
        weak = network.predict(Frozen(student, net.ema), image)
    else:
        key, target_key = jax.random.split(key)
        fixed = params if weak_has_gradient else jax.lax.stop_gradient(params)
        (weak,), _ = network.forward(student, fixed, net.batch_stats, target_key, image)
    (labeled, strong), batch_stats = forward(student, params, net, batch, key, 'strong')
    return (labeled, weak, strong), batch_stats


def _check_averaged(net, weak_has_gradient):
    if weak_has_gradient:
        why = 'its targets get a gradient here'
    elif net.ema is None:
        why = (
            'the network that gives targets has no average; give an ema_decay above 0 (for MPL, whose '
            'teacher never has one, that does not help)'
        )
    else:
        return
    raise ValueError(f"algorithm.target_pass is 'averaged', but {why}; or give separate or joined.")


class WithMemory(NamedTuple):
    """The state of an algorithm that has a memory in addition to its network."""

    net: Network
    memory: Any


def from_loss(loss: Callable, student: Definition, ema_decay: float) -> Algorithm:
    """The algorithm that minimizes one loss of one network.

    Args:
      loss: (params, net, batch, step, key) -> (scalar, (batch_stats, metrics)),
        where net is the network before the step.
      student: the network.
      ema_decay: decay of the average of its weights; 0 keeps no average.
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
    """`from_loss` for an algorithm with a memory: thresholds, predictions.

    Args:
      loss: (params, net, memory, batch, step, key) -> (scalar, (batch_stats, metrics,
        memory)), where net and memory are those before the step.
      student, ema_decay: as in `from_loss`.
      memory: sizes -> the memory before the first step, a tree of arrays.
    """

    def init(key, batch, sizes):
        net = network.create(student, key, batch['labeled']['image'], ema_decay)
        return WithMemory(net, memory(sizes))

    def update(state: WithMemory, batch, step, key):
        gradient, (batch_stats, metrics, new_memory) = jax.grad(loss, has_aux=True)(
            state.net.params, state.net, state.memory, batch, step, key
        )
        net = network.update(student, state.net, gradient, batch_stats, step, ema_decay)
        return WithMemory(net, jax.lax.stop_gradient(new_memory)), metrics

    def networks(state):
        return network.freeze('student', student, state.net)

    return Algorithm(init, update, networks)
