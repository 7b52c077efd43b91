"""The common part of self-supervised rules: a trunk, heads on its features, averages, a probe.

A rule is one loss of embeddings. The trunk is the network `student`, of which everything is
evaluated as for any other rule: its features are what is learned, and its last layer, named 'head',
is a linear classifier on them. Projectors and predictors are networks of their own, whose input are
features.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from mpl.algorithms import losses
from mpl.algorithms.interface import Algorithm, Batch, Sizes
from mpl.models import batch_statistics, network
from mpl.models.network import Definition, Frozen, Network, Variables
from mpl.optimizers import backbone, schedules

Chain = Mapping[str, Definition]  # by role, in the order of the pass: the trunk, then its heads


class State(NamedTuple):
    """The networks by role, and what the rule remembers beside them."""

    nets: dict[str, Network]
    memory: Any  # a tree of arrays, () for none


class Average(NamedTuple):
    """The moving average of the weights.

    decay: 0 keeps none. roles: the networks that have one. steps: over which the decay rises from
    `decay` to 1 by a cosine, see schedules.momentum; 0 for a constant one. target: whether it is a
    target network, with its own statistics and no ramp, see network.update. It is named student_target
    then, not student_ema: with a decay that rises to 1 it lags behind `student`, the network to use.
    """

    decay: float
    roles: tuple[str, ...] = ('student',)
    steps: int = 0
    target: bool = False


class Labels(NamedTuple):
    """What the labeled images of a batch are used for.

    weight: of their cross-entropy. At 0 there is an online probe: the last layer alone learns, from
    fixed features in evaluation mode, so that labels change neither the other weights nor any
    statistics. Above 0 training is joint: the labeled images have a pass in training mode of their
    own, and the last layer is in the optimizer of the trunk.
    rate: learning rate of the probe.
    """

    weight: float
    rate: float


class Rule(NamedTuple):
    """A rule as `from_loss` takes it."""

    loss: Callable
    chain: Chain
    average: Average
    labels: Labels | None
    memory: Callable[[jax.Array, Batch, int, Sizes], Any]
    repeats: int


def from_loss(
    loss: Callable,
    chain: Chain,
    average: Average,
    labels: Labels | None,
    memory: Callable[[jax.Array, Batch, int, Sizes], Any] = lambda key, batch, width, sizes: (),
    repeats: int = 1,
) -> Algorithm:
    """The algorithm that minimizes one loss of the embeddings of unlabeled images.

    Args:
      loss: (params, state, batch, step, key) -> (scalar, (batch_stats, memory, metrics)); params
        and batch_stats are dicts by role, state is that before the step.
      chain: the networks by role; 'student' is the trunk.
      average: of the weights.
      labels: how the labeled images of a batch, if there are any, are used; None if by the loss
        itself.
      memory: (key, batch, width of the last head's output, sizes) -> the memory before the first
        step.
      repeats: how often the features of an image are side by side in the input of the first head.
    """
    if labels is not None and not labels.weight:
        student = chain['student']
        student = student._replace(optimizer=backbone.with_probe(student.optimizer, labels.rate))
        chain = dict(chain) | {'student': student}
    rule = Rule(loss, chain, average, labels, memory, repeats)
    averaged = 'target' if average.target else 'ema'  # in the names of networks

    def frozen(state, roles):
        found = {}
        for role in roles:
            found |= network.freeze(role, chain[role], state.nets[role], averaged)
        return found

    return Algorithm(
        partial(_init, rule),
        partial(_update, rule),
        partial(frozen, roles=('student',)),
        partial(frozen, roles=[role for role in chain if role != 'student']),
    )


def _init(rule, key, batch, sizes):
    x = views(batch, 'view_0')[0]
    if len(x) < 2:
        raise ValueError(
            'batch.unlabeled is 1, but self-supervised rules compare the images of a batch; give 2 or more.'
        )
    if len(x) > sizes.unlabeled:
        raise ValueError(
            f'batch.unlabeled is {len(x)}, more than the {sizes.unlabeled} unlabeled images, so that a step '
            'would compare images with themselves; give at most that many.'
        )
    memory_key, *keys = jax.random.split(key, len(rule.chain) + 1)
    nets, width = {}, 0
    for (role, definition), one_key in zip(rule.chain.items(), keys):
        decay = rule.average.decay if role in rule.average.roles else 0.0
        nets[role] = net = network.create(definition, one_key, x, decay)
        x = _passed_on(
            role, network.predict(Frozen(definition, Variables(net.params, net.batch_stats)), x[:1])
        )
        if role == 'predictor' and x.shape[-1] != width:
            raise ValueError(
                f'The predictor has {x.shape[-1]} outputs, and the projector, whose outputs it predicts, has '
                f'{width}; give networks.predictor.model.widths a last entry of {width}.'
            )
        width = x.shape[-1]
        x = jnp.repeat(x, rule.repeats, -1) if role == 'student' else x
    return State(nets, rule.memory(memory_key, batch, x.shape[-1], sizes))


def _update(rule, state, batch, step, key):
    params = {role: net.params for role, net in state.nets.items()}
    gradient, (stats, of_images, memory, metrics) = jax.grad(partial(_total, rule), has_aux=True)(
        params, state, batch, step, key
    )
    decay = schedules.momentum(step, rule.average.decay, rule.average.steps)
    nets = {
        role: network.update(
            definition,
            state.nets[role],
            gradient[role],
            stats[role],
            step,
            decay,
            of_images[role],
        )
        for role, definition in rule.chain.items()
    }
    return State(nets, jax.lax.stop_gradient(memory)), metrics


def _total(rule, params, state, batch, step, key):
    """The loss of all images, with (batch_stats, those of the images alone, memory, metrics)."""
    (stats, (value, memory, metrics)), of_images = _unlabeled(rule, params, state, batch, step, key)
    metrics, labels = {'loss/unlabeled': value} | metrics, rule.labels
    if labels is not None and (labels.weight or 'labeled' in batch):
        outputs, stats = _classify(rule, params, state, stats, batch, jax.random.fold_in(key, 1))
        label = batch['labeled']['label']
        supervised = losses.cross_entropy(outputs.logits, label)
        value += (labels.weight or 1.0) * supervised
        metrics |= {
            'loss/labeled': supervised,
            'accuracy/batch': losses.accuracy(outputs.logits, label),
        }
    return value, (stats, of_images, memory, metrics)


def _unlabeled(rule, params, state, batch, step, key):
    """The rule's loss; and by role the batch statistics of its images, None without a target network."""

    def passes(stats):
        nets = {role: net.replace(batch_stats=stats[role]) for role, net in state.nets.items()}
        value, (after, *rest) = rule.loss(params, state._replace(nets=nets), batch, step, key)
        return after, (value, *rest)

    if not rule.average.target:
        return passes(statistics(state)), dict.fromkeys(rule.chain)
    return batch_statistics.of_step(passes, statistics(state))


def _classify(rule, params, state, stats, batch, key):
    """The trunk's outputs for the labeled images, and the statistics after their pass."""
    student, image = rule.chain['student'], batch['labeled']['image']
    if not rule.labels.weight:
        net = state.nets['student']
        return network.probe(student, params['student'], net.batch_stats, image), stats
    (outputs,), changed = network.forward(student, params['student'], stats['student'], key, image)
    return outputs, stats | {'student': changed}


def views(batch: Batch, *names: str) -> list[jax.Array]:
    """These views of the unlabeled images."""
    return [batch['unlabeled'][name] for name in names]


def all_views(batch: Batch, prefix: str) -> list[jax.Array]:
    """The views prefix0, prefix1, ... of the unlabeled images, in this order."""
    count = sum(name.startswith(prefix) for name in batch['unlabeled'])
    return [batch['unlabeled'][f'{prefix}{n}'] for n in range(count)]


def forward(
    chain: Chain,
    params: Mapping[str, Any],
    batch_stats: Mapping[str, Any],
    key: jax.Array,
    *images: jax.Array,
    joined: bool = False,
) -> tuple[dict[str, list[jax.Array]], dict[str, Any]]:
    """Training-mode passes of views through the trunk and then its heads, one after the other.

    Args:
      chain: the networks of the pass, by role.
      params, batch_stats: of at least these roles.
      key: for dropout.
      *images: views [B, H, W, C].
      joined: one pass for all views, which share their batch statistics, instead of one for each.

    Returns:
      By role the embeddings of each view [B, D]: the features of the trunk, the outputs of the
      heads. And batch_stats after the pass, those of other roles included.
    """
    run = network.forward if joined else network.forward_each
    x, outputs, batch_stats = images, {}, dict(batch_stats)
    for (role, definition), one_key in zip(chain.items(), jax.random.split(key, len(chain))):
        found, batch_stats[role] = run(definition, params[role], batch_stats[role], one_key, *x)
        x = outputs[role] = [_passed_on(role, one) for one in found]
    return outputs, batch_stats


def predict(chain: Chain, variables: Mapping[str, Variables], image: jax.Array) -> jax.Array:
    """The output of the last network of the chain for image [B, H, W, C], in evaluation mode."""
    for role, definition in chain.items():
        image = _passed_on(role, network.predict(Frozen(definition, variables[role]), image))
    return image


def statistics(state: State) -> dict[str, Any]:
    """The running statistics of the networks, by role."""
    return {role: net.batch_stats for role, net in state.nets.items()}


def _passed_on(role, outputs):
    """What the next network of a chain takes: the trunk's features, a head's outputs."""
    return outputs.features if role == 'student' else outputs.logits
