"""A network with hidden layers of a projector between its features and its last layer.

To fine-tune from the middle of the projector of a self-supervised run (SimCLRv2, arXiv 2006.10029,
section 2): init_from.projector is the number of these layers.
"""

import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from typing import Annotated

import flax.linen as nn

from mpl.models import layers, projector
from mpl.models.network import Variables


class Hidden(nn.Module):
    """The first layers of a projector."""

    widths: tuple
    activation: str
    norm: str
    norm_decay: float
    dtype: str | None

    @nn.compact
    def __call__(self, features, train):
        return projector.hidden_layers(
            features, self.widths, self.activation, self.norm, self.norm_decay, self.dtype, train
        )


class Projected(nn.Module):
    num_classes: int
    trunk: nn.Module
    hidden: nn.Module
    dropout: float

    @nn.compact
    def __call__(self, image, train):
        replaced = []

        def without_head(call, args, kwargs, context):
            """Replaces the trunk's last layer, which would be idle, by the identity."""
            if context.module.name != 'head' or context.method_name != '__call__':
                return call(*args, **kwargs)
            replaced.append(context.module.path)
            return args[0]

        with nn.intercept_methods(without_head):
            features, _ = self.trunk(image, train)
        if not replaced:
            raise ValueError(
                f"The trunk {type(self.trunk).__name__} has no layer named 'head' to be replaced; choose "
                'another model.'
            )
        features = layers.widen(self.hidden(features, train))
        x = layers.dropout(features, self.dropout, train)
        return features, layers.Head(self.num_classes, name='head')(x)


def find(name: str) -> Callable:
    """`make` of mpl/models/<name>.py without the argument num_classes, to build a trunk.

    Raises ValueError if there is none, or if it is computed from training images.
    """
    found = None
    if isinstance(name, str) and name.isidentifier() and name != 'projected':
        if importlib.util.find_spec(f'mpl.models.{name}') is not None:
            found = importlib.import_module(f'mpl.models.{name}')
    make = getattr(found, 'make', None)
    if make is None or 'num_classes' not in inspect.signature(make).parameters:
        raise ValueError(f'trunk.name {name!r} is no model of images; see mpl/models/.')
    if hasattr(found, 'start'):
        raise ValueError(
            f'trunk.name {name!r} has weights that are computed from images, which a trunk cannot get; '
            'choose another model.'
        )

    def build(**given):
        return make(num_classes=2, **given)  # Its last layer is not made.

    signature = inspect.signature(make, eval_str=True)
    kept = [p for p in signature.parameters.values() if p.name != 'num_classes']
    build.__signature__ = signature.replace(parameters=kept)
    return build


def join(trunk: Variables, head: Variables, count: int) -> Variables:
    """The variables of this model, without its last layer, from a trunk and its projector.

    Args:
      trunk: variables of the network of images.
      head: variables of its projector.
      count: number of its layers to take.
    """

    def first(tree: Mapping) -> dict:
        return {k: v for k, v in tree.items() if k.rpartition('_')[2] in map(str, range(count))}

    body = {name: layer for name, layer in trunk.params.items() if name != 'head'}
    return Variables(
        {'trunk': body, 'hidden': first(head.params)},
        {'trunk': trunk.batch_stats, 'hidden': first(head.batch_stats)},
    )


def make(
    num_classes: int,
    trunk: Annotated[dict, find],
    widths: tuple,
    activation: str = 'relu',
    norm: str = 'batch',
    norm_decay: float = 0.9,
    dropout: float = 0.0,
    dtype: str | None = None,
) -> nn.Module:
    """The trunk, then dense layers; features are the output of the last of these, [B, widths[-1]].

    trunk: a model of this folder whose last layer is named 'head': name and arguments.
    widths: of the layers.
    activation, norm, norm_decay, dtype: as of the projector whose layers these are.
    dropout: rate on the features before the head.
    """
    layers.check_classes(num_classes)
    layers.check_widths('widths', widths)
    layers.check_choice('activation', activation, layers.ACTIVATIONS)
    layers.check_choice('norm', norm, ('none', 'batch'))
    layers.check_rate('norm_decay', norm_decay)
    layers.check_rate('dropout', dropout)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    given = dict(trunk)
    body = find(given.pop('name'))(**given)
    hidden = Hidden(tuple(widths), activation, norm, norm_decay, dtype)
    return Projected(num_classes, body, hidden, dropout)
