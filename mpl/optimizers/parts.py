"""Fine-tuning of some of a network's parameters, at rates that depend on the layer."""

import re
from collections.abc import Iterable
from typing import Any

import jax
import optax

from mpl.optimizers import backbone, layers


def tune(
    optimizer: optax.GradientTransformation,
    backbone_rate: float,
    layer_decay: float,
    trained: tuple[str, ...],
) -> optax.GradientTransformation:
    """The optimizer for the parameters that are trained, with rates by layer.

    Args:
      optimizer: of all parameters, at one rate.
      backbone_rate: see `backbone.scale`.
      layer_decay: see `layers.scale`.
      trained: see `find`. The others keep every bit, have no optimizer state, and their gradients
        are not part of a clipped norm. () trains all.

    Raises:
      ValueError: names that are no regular expressions, or a backbone that is trained at rate 0.
    """
    check(trained)
    if trained and backbone_rate == 0:
        raise ValueError(
            f'optimizer: backbone_rate 0 trains the head alone, and trained is {trained}; set '
            'backbone_rate to 1.'
        )
    optimizer = backbone.scale(optimizer, backbone_rate)
    if trained:
        rules = {True: optimizer, False: optax.stateless(backbone.stay)}
        optimizer = optax.partition(rules, lambda params: find(params, trained))
    return layers.scale(optimizer, layer_decay)  # Outermost, where it has all layers to count.


def names(backbone_rate: float, trained: tuple[str, ...]) -> tuple[str, ...]:
    """The names of what is trained, as `trained` has them; () for all."""
    return ('head',) if backbone_rate == 0 else trained


def hold(params: Any, trained: tuple[str, ...]) -> Any:
    """The parameters, of which those that are not trained have no gradient.

    With it a backward pass neither computes their gradients nor keeps what only these need.
    """
    if not trained:
        return params
    return jax.tree.map(
        lambda chosen, leaf: leaf if chosen else jax.lax.stop_gradient(leaf),
        find(params, trained),
        params,
    )


def find(params: Any, trained: Iterable[str]) -> Any:
    """True for each parameter that is trained: a part of its path has one of the names.

    The parts of block_3/qkv/bias are block_3, qkv and bias. ('head',) is a linear classifier on
    fixed features, ('bias', 'head') BitFit (arXiv 2106.10199), ('lora', 'head') LoRA (see
    mpl/models/lora.py), ('block_1[01]', 'norm', 'head') the last two of 12 blocks.

    Args:
      params: of a network.
      trained: regular expressions, each of which has to match a whole part.

    Raises:
      ValueError: no parameter has one of the names.
    """
    paths, structure = jax.tree_util.tree_flatten_with_path(
        params, is_leaf=lambda node: isinstance(node, optax.MaskedNode)
    )
    parts = [[jax.tree_util.keystr((key,), simple=True) for key in path] for path, _ in paths]
    known = dict.fromkeys(part for path in parts for part in path)
    for name in trained:
        if not any(re.fullmatch(name, part) for part in known):
            raise ValueError(
                f'optimizer: trained has {name!r}, and the network has no layer or parameter of that '
                f'name; give some of {", ".join(known)}'
                + (' (lora: with networks.<role>.lora.rank above 0).' if name == 'lora' else '.')
            )
    chosen = [any(re.fullmatch(name, part) for name in trained for part in path) for path in parts]
    return jax.tree.unflatten(structure, chosen)


def check(trained: tuple[str, ...]) -> None:
    """Raises ValueError if a name is no regular expression."""
    for name in trained:
        try:
            re.compile(name)
        except (re.error, TypeError) as error:
            raise ValueError(
                f'optimizer: trained has {name!r}, which is no name and no regular expression '
                f"({error}); give names of layers or parameters, such as ('bias', 'head')."
            ) from error
