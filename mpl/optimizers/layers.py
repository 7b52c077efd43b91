"""Learning rates that fall from the last layer of a network to its first."""

import re
from typing import Any

import jax
import optax

# How the layers before the first one with a number are named; other layers without one come last.
FIRST = ('stem', 'patch', 'position', 'token', 'register', 'norm_pre', 'whitening', 'embed')
WRAPPERS = ('lora', 'trunk')  # a part of a path that holds the layers


def scale(optimizer: optax.GradientTransformation, decay: float) -> optax.GradientTransformation:
    """The optimizer with the updates of layer l of L multiplied by decay^(L - l), weight decay included.

    The layers are those of `number`, as in the fine-tuning of BEiT and MAE (arXiv 2106.08254,
    2111.06377): patches and embeddings are layer 0, the blocks are 1 to L - 1, the last norm and
    the head are L and have the full rate.

    Raises:
      ValueError: decay is not in (0, 1]; or (by `init`) no layer has a number in its name.
    """
    if not 0 < decay <= 1:
        raise ValueError(
            f'optimizer: layer_decay is {decay}; give a number above 0 and at most 1, such as 0.75.'
        )
    if decay == 1:
        return optimizer

    def init(params):
        number(params)  # Raises now.
        return optax.EmptyState()

    def update(changes, state, params):
        numbers = number(params)
        last = max(jax.tree.leaves(numbers))
        scaled = jax.tree.map(
            lambda layer, change: decay ** (last - layer) * change, numbers, changes
        )
        return scaled, state

    return optax.chain(optimizer, optax.GradientTransformation(init, update))


def number(params: Any) -> Any:
    """The number of the layer that each parameter is in.

    Layers with numbers in their names (block_3, group_1_block_0) are 1, 2, ... in the order of these
    numbers; blocks that are stacked for a scan are one layer. Those before them (see FIRST) are 0, all
    others come after them.

    Raises:
      ValueError: there is no layer with a number in its name.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(params)
    layers = [_layer(path) for path, _ in paths]
    order = {key: i for i, key in enumerate(sorted({_digits(n) for n in layers} - {()}), 1)}
    if not order:
        raise ValueError(
            'optimizer: layer_decay needs layers with numbers in their names, such as block_3, and the '
            f'network has {", ".join(dict.fromkeys(layers))}; set layer_decay to 1.'
        )

    def place(name):
        if name.startswith(FIRST):
            return 0
        return order[_digits(name)] if _digits(name) else len(order) + 1

    return jax.tree.unflatten(structure, [place(name) for name in layers])


def _layer(path):
    """The name of the outermost layer on the path of a parameter."""
    parts = [jax.tree_util.keystr((key,), simple=True) for key in path]
    return next((part for part in parts if part not in WRAPPERS), parts[-1])


def _digits(name):
    return tuple(map(int, re.findall(r'\d+', name)))
