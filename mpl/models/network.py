"""Networks as pure functions and states; the only file through which algorithms use Flax Linen."""

import contextlib
from collections.abc import Callable
from typing import Any, NamedTuple

import flax
import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import AbstractMesh

from mpl.models import layers, lora
from mpl.models.lora import Lora
from mpl.parallel import spatial

PyTree = Any


class Outputs(NamedTuple):
    """The outputs of a network for B images."""

    features: jax.Array  # [B, D], the input of the last layer
    logits: jax.Array  # [B, K]


@flax.struct.dataclass
class Variables:
    """The variables of a network."""

    params: PyTree
    batch_stats: PyTree


class Definition(NamedTuple):
    """The constants of a network: architecture, optimizer, initial values."""

    model: nn.Module
    optimizer: optax.GradientTransformation
    mesh: AbstractMesh = AbstractMesh((1, 1), ('data', 'model'))  # on which its passes run
    evaluation_mode: bool = False  # of training passes too: see `forward`
    start: Variables | None = None  # initial values; missing layers are random
    lora: Lora = Lora()  # adapters of dense layers
    # params -> params without a gradient where the optimizer trains none
    hold: Callable[[PyTree], PyTree] = lambda params: params


@flax.struct.dataclass
class Network:
    """The training state of one network."""

    params: PyTree
    batch_stats: PyTree
    opt_state: optax.OptState
    ema: Variables | None  # None if no average is kept


class Frozen(NamedTuple):
    """A network with fixed variables, for prediction; made and used within one trace."""

    definition: Definition
    variables: Variables


def create(definition: Definition, key: jax.Array, image: jax.Array, ema_decay: float) -> Network:
    """Initializes a network for inputs like `image` [B, H, W, C]; a head for features like it, [B, D]."""
    with lora.found() as dense_layers:
        variables = definition.model.init(key, jnp.zeros_like(image[:1]), train=False)
    params, batch_stats = variables['params'], variables.get('batch_stats', {})
    if definition.lora.rank:
        adapters = lora.draw(definition.lora, jax.random.fold_in(key, 1), dense_layers)
        params = params | {'lora': adapters}
    if definition.start is not None:
        # A copy, since networks that share buffers cannot all be donated to the first step.
        start = jax.tree.map(jnp.copy, definition.start)
        params, batch_stats = params | start.params, batch_stats | start.batch_stats
    return Network(
        params,
        batch_stats,
        definition.optimizer.init(params),
        Variables(params, batch_stats) if ema_decay else None,
    )


def forward(
    definition: Definition, params: PyTree, batch_stats: PyTree, key: jax.Array, *images: jax.Array
) -> tuple[tuple[Outputs, ...], PyTree]:
    """One training-mode pass over several views, joined into one batch.

    Joined views share their batch-norm statistics, which are those of the global
    batch, over all devices. `key` is for dropout. In evaluation mode the running statistics are
    used and not updated, and dropout is off: for a linear probe, or to fine-tune in small batches.

    Returns:
      The outputs of each view, and the batch statistics after the pass.
    """
    shards = definition.mesh.shape['data']
    (features, logits), changed = _apply(
        Frozen(definition, Variables(params, batch_stats)),
        _join(images, shards),
        train=not definition.evaluation_mode,
        rngs={'dropout': key},
        mutable=['batch_stats'],
    )
    sizes = [image.shape[0] for image in images]
    outputs = zip(_split(features, sizes, shards), _split(logits, sizes, shards))
    return tuple(Outputs(*o) for o in outputs), changed.get('batch_stats', {})


def forward_layer(
    definition: Definition,
    params: PyTree,
    batch_stats: PyTree,
    key: jax.Array,
    image: jax.Array,
    layer: str,
) -> tuple[jax.Array, PyTree]:
    """`forward` of one view, whose result is the output of a layer by its path, as of `capture`.

    Raises:
      ValueError: there is no such layer.
    """
    found, batch_stats = _capture(
        Frozen(definition, Variables(params, batch_stats)),
        image,
        train=not definition.evaluation_mode,
        rngs={'dropout': key},
    )
    if layer not in found:
        raise ValueError(f'The network has no layer {layer!r}; give one of {", ".join(found)}.')
    return found[layer], batch_stats


def forward_each(
    definition: Definition, params: PyTree, batch_stats: PyTree, key: jax.Array, *images: jax.Array
) -> tuple[tuple[Outputs, ...], PyTree]:
    """`forward` with a pass for each view by itself, whose statistics are those of the view alone.

    Running statistics are updated by one pass after the other. Views may differ in size.
    """
    outputs = []
    for one_key, image in zip(jax.random.split(key, len(images)), images):
        found, batch_stats = forward(definition, params, batch_stats, one_key, image)
        outputs += found
    return tuple(outputs), batch_stats


def probe(definition: Definition, params: PyTree, batch_stats: PyTree, image: jax.Array) -> Outputs:
    """`predict` in which only the last layer has a gradient: a linear classifier on fixed features.

    Raises:
      ValueError: the network has no layer named 'head'.
    """
    if 'head' not in params:
        raise ValueError(
            "An online probe trains the layer named 'head' of the network, and this one has "
            f'{", ".join(params)}; choose another model, or set batch.labeled to 0.'
        )
    fixed = jax.lax.stop_gradient(params) | {'head': params['head']}
    every = definition._replace(hold=lambda params: params)
    return predict(Frozen(every, Variables(fixed, batch_stats)), image)


def update(
    definition: Definition,
    net: Network,
    gradient: PyTree,
    batch_stats: PyTree,
    step: jax.Array,
    ema_decay: float | jax.Array,
    of_images: PyTree | None = None,
) -> Network:
    """One optimizer step, then one step of the average over params and statistics.

    The average's decay is ramped, min(ema_decay, (1 + step) / (10 + step)), as in the released MPL
    code, so that the initial values soon have little weight.

    A target network has `ema_decay` from the first step on, and `of_images`, the batch statistics of
    the step's images alone. They are averaged with the decay of the parameters, from those of the first
    step on, since initial ones (mean 0, variance 1) may be of no images. They belong to the parameters
    before the step, so they lag by one step, and approximate the statistics of the averaged parameters
    (arXiv 2101.08482).
    """
    changes, opt_state = definition.optimizer.update(gradient, net.opt_state, net.params)
    params = optax.apply_updates(net.params, changes)
    ema = net.ema
    if ema is not None:
        if of_images is None:
            decay = of_statistics = jnp.minimum(ema_decay, (1 + step) / (10 + step))
            statistics = batch_stats
        else:
            decay, of_statistics = ema_decay, jnp.where(step == 0, 0.0, ema_decay)
            statistics = of_images

        ema = Variables(
            average(decay, ema.params, params),
            average(of_statistics, ema.batch_stats, statistics),
        )
    return Network(params, batch_stats, opt_state, ema)


def average(decay: float | jax.Array, old: PyTree, new: PyTree) -> PyTree:
    """The moving average decay * old + (1 - decay) * new of trees of arrays, in the types of `old`.

    In this form the average of a constant is that constant, to the bit.
    """
    return jax.tree.map(lambda o, n: (o + (1 - decay) * (n - o)).astype(o.dtype), old, new)


def freeze(
    name: str, definition: Definition, net: Network, averaged: str = 'ema'
) -> dict[str, Frozen]:
    """The network, and its average if there is one, by the names in reports: <name>_<averaged>."""
    frozen = {name: Frozen(definition, Variables(net.params, net.batch_stats))}
    if net.ema is not None:
        frozen[f'{name}_{averaged}'] = Frozen(definition, net.ema)
    return frozen


def predict(frozen: Frozen, image: jax.Array) -> Outputs:
    """Evaluation mode: running batch statistics, no dropout. image: [B, H, W, C]."""
    return Outputs(*_apply(frozen, image, train=False))


def predict_with_dropout(frozen: Frozen, image: jax.Array, key: jax.Array) -> Outputs:
    """`predict` with random dropout masks: a sample of the network (arXiv 1506.02142)."""
    with layers.always_dropout():
        return Outputs(*_apply(frozen, image, train=False, rngs={'dropout': key}))


def capture(frozen: Frozen, image: jax.Array) -> dict[str, jax.Array]:
    """The outputs of all layers in evaluation mode, by path, such as 'group_1_block_0/conv_0'.

    Layers are the submodules of the model that are called once and return one array [B, ...].
    """
    found, _ = _capture(frozen, image, train=False)
    return found


def merge(frozen: Frozen) -> Variables:
    """The variables of the same function by the model alone: adapters are added to their kernels."""
    definition, variables = frozen
    if not definition.lora.rank:
        return variables
    return variables.replace(params=lora.merge(definition.lora, variables.params))


def count_parameters(params: PyTree) -> int:
    """The number of scalars among the parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def _apply(frozen: Frozen, image: jax.Array, **given) -> Any:
    """What the model returns for image [B, H, W, C], or features of a head, with its adapters."""
    definition, variables = frozen
    params = definition.hold(variables.params)
    adapted = contextlib.nullcontext()
    if definition.lora.rank:
        adapted = lora.applied(definition.lora, params['lora'])
        params = {name: layer for name, layer in params.items() if name != 'lora'}
    with jax.sharding.use_abstract_mesh(definition.mesh), adapted:
        return definition.model.apply(
            {'params': params, 'batch_stats': variables.batch_stats},
            spatial.shard_columns(image),
            **given,
        )


def _capture(frozen: Frozen, image: jax.Array, **given) -> tuple[dict[str, jax.Array], PyTree]:
    """The outputs of layers that were called once, by path, and batch_stats after the pass."""
    _, changed = _apply(
        frozen,
        image,
        capture_intermediates=True,
        mutable=['batch_stats', 'intermediates'],
        **given,
    )
    calls = flax.traverse_util.flatten_dict(changed['intermediates'])
    found = {
        '/'.join(path): outputs[0]
        for (*path, method), outputs in calls.items()
        if path and method == '__call__' and len(outputs) == 1 and _is_batch(outputs[0], image)
    }
    return found, changed.get('batch_stats', {})


def _is_batch(output: PyTree, image: jax.Array) -> bool:
    """Whether an output is one array with at least one value for each image."""
    return isinstance(output, jax.Array) and output.ndim > 1 and len(output) == len(image)


def _join(arrays: tuple[jax.Array, ...], shards: int) -> jax.Array:
    """Concatenates along axis 0, shard by shard.

    A plain concatenation of arrays that are sharded along that axis would move rows between
    devices; the order of rows within the batch is free.
    """
    if len(arrays) == 1:
        return arrays[0]
    parts = [a.reshape(shards, a.shape[0] // shards, *a.shape[1:]) for a in arrays]
    joined = jnp.concatenate(parts, axis=1)
    return joined.reshape(-1, *joined.shape[2:])


def _split(array: jax.Array, sizes: list[int], shards: int) -> list[jax.Array]:
    """Undoes `_join`."""
    if len(sizes) == 1:
        return [array]
    parts = array.reshape(shards, -1, *array.shape[1:])
    ends = [sum(sizes[: i + 1]) // shards for i in range(len(sizes) - 1)]
    return [part.reshape(-1, *array.shape[1:]) for part in jnp.split(parts, ends, axis=1)]
