"""LoRA, low-rank adaptation of dense layers (Hu et al., arXiv 2106.09685, section 4.1).

A dense layer x W + b with an adapter computes x W + b + (alpha / rank) x A B, with A [inputs, rank]
and B [rank, outputs]. They are the parameters lora/<layer>/down/kernel and lora/<layer>/up/kernel of
the network. B starts at 0, so that the network starts as it is without them.
"""

import contextlib
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util


class Lora(NamedTuple):
    """Low-rank adapters of dense layers.

    rank: of the adapters, 0 for none. alpha: their product is multiplied by alpha / rank. targets: the
    layers that have one, by regular expressions of which one has to match a whole part of the
    layer's path, such as qkv of block_3/qkv; empty for all dense layers but the head.
    """

    rank: int = 0
    alpha: float = 8.0
    targets: tuple = ()

    @property
    def scale(self) -> float:
        return self.alpha / self.rank


@contextlib.contextmanager
def found() -> Iterator[dict[tuple, tuple[int, int]]]:
    """Collects (inputs, outputs) of each dense layer that is called, by its path."""
    shapes = {}

    def record(call, args, kwargs, context):
        if _is_dense(context):
            shapes[context.module.path] = (args[0].shape[-1], context.module.features)
        return call(*args, **kwargs)

    with nn.intercept_methods(record):
        yield shapes


def draw(lora: Lora, key: jax.Array, shapes: Mapping[tuple, tuple[int, int]]) -> dict:
    """New adapters, float32: A normal with variance 1 / inputs, B zero.

    The paper draws A from a normal distribution and does not give its variance.

    Args:
      lora: which ones.
      key: of the draw.
      shapes: of all dense layers, from `found`.

    Raises:
      ValueError: no dense layer has a name of `targets`, or the rank is too large for one.
    """
    chosen = _choose(lora.targets, shapes)
    adapters = {}
    for path, one in zip(chosen, jax.random.split(key, len(chosen)), strict=True):
        inputs, outputs = shapes[path]
        if lora.rank > min(inputs, outputs):
            raise ValueError(
                f'lora.rank is {lora.rank}, but the layer {"/".join(path)} has {inputs} inputs and '
                f'{outputs} outputs; give at most {min(inputs, outputs)}, or other lora.targets.'
            )
        down = jax.random.normal(one, (inputs, lora.rank)) * inputs**-0.5
        adapters[(*path, 'down', 'kernel')] = down
        adapters[(*path, 'up', 'kernel')] = jnp.zeros((lora.rank, outputs))
    return traverse_util.unflatten_dict(adapters)


def applied(lora: Lora, adapters: Mapping) -> contextlib.AbstractContextManager:
    """Within it, dense layers of Linen add their adapters' outputs, in their own precision."""
    layers = _layers(adapters)

    def add(call, args, kwargs, context):
        output = call(*args, **kwargs)
        if not _is_dense(context) or context.module.path not in layers:
            return output
        down, up = (kernel.astype(output.dtype) for kernel in layers[context.module.path])
        return output + lora.scale * (args[0].astype(output.dtype) @ down) @ up

    return nn.intercept_methods(add)


def merge(lora: Lora, params: Mapping) -> dict[str, Any]:
    """Parameters of the network without adapters, that computes the same: W + (alpha / rank) A B."""
    flat = traverse_util.flatten_dict({k: v for k, v in params.items() if k != 'lora'})
    for path, (down, up) in _layers(params['lora']).items():
        flat[(*path, 'kernel')] += lora.scale * down @ up
    return traverse_util.unflatten_dict(flat)


def _is_dense(context: nn.module.InterceptorContext) -> bool:
    return isinstance(context.module, nn.Dense) and context.method_name == '__call__'


def _choose(targets, shapes):
    """The paths of the layers that get an adapter, in order."""
    inner = sorted(path for path in shapes if path[0] != 'head')
    listed = ', '.join('/'.join(path) for path in inner[:8]) + ', ...' * (len(inner) > 8)
    if not inner:
        raise ValueError(
            'lora.rank is above 0, but the network has no dense layers but the head, and adapters are '
            'for these (not for convolutions); set lora.rank to 0, or choose another model.'
        )
    for target in targets:
        if not any(re.fullmatch(target, part) for path in inner for part in path):
            raise ValueError(
                f'lora.targets has {target!r}, and the network has no dense layer of that name below '
                f'the head; it has {listed}.'
            )
    return [
        path
        for path in inner
        if not targets or any(re.fullmatch(t, part) for t in targets for part in path)
    ]


def _layers(adapters: Mapping) -> dict[tuple, tuple[jax.Array, jax.Array]]:
    """(A, B) of each layer with an adapter, by its path."""
    flat = traverse_util.flatten_dict(dict(adapters))
    paths = dict.fromkeys(path[:-2] for path in flat)
    return {p: (flat[(*p, 'down', 'kernel')], flat[(*p, 'up', 'kernel')]) for p in paths}
