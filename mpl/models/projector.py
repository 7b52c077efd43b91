"""Heads on the features of another network: projectors and predictors."""

import flax.linen as nn

from mpl.models import layers

LAST_NORMS = ('none', 'plain', 'scale', 'affine')


class Projector(nn.Module):
    widths: tuple
    activation: str
    norm: str
    last_norm: str
    last_bias: bool
    norm_decay: float
    prototypes: int
    dtype: str | None

    @nn.compact
    def __call__(self, features, train):
        *hidden, last = self.widths
        x = hidden_layers(
            features, tuple(hidden), self.activation, self.norm, self.norm_decay, self.dtype, train
        )
        inner, place = layers.widen(x), len(hidden)
        bias = self.last_bias and self.last_norm == 'none'
        x = nn.Dense(last, use_bias=bias, dtype=self.dtype, name=f'dense_{place}')(x)
        if self.last_norm != 'none':
            scale, offset = self.last_norm != 'plain', self.last_norm == 'affine'
            x = _batch_norm(place, self.norm_decay, self.dtype, train, scale, offset)(x)
        x = layers.widen(x)
        if self.prototypes:
            inner, x = x, Prototypes(self.prototypes, name='prototypes')(x)
        return inner, x


def hidden_layers(x, widths, activation, norm, norm_decay, dtype, train):
    """Dense layers dense_0, dense_1, ... of the calling module, each with its norm and activation."""
    for place, width in enumerate(widths):
        normed = norm == 'batch'
        x = nn.Dense(width, use_bias=not normed, dtype=dtype, name=f'dense_{place}')(x)
        x = _batch_norm(place, norm_decay, dtype, train)(x) if normed else x
        x = layers.ACTIVATIONS[activation](x)
    return x


def _batch_norm(place, decay, dtype, train, scale=True, bias=True):
    return nn.BatchNorm(
        use_running_average=not train,
        momentum=decay,
        dtype=dtype,
        use_scale=scale,
        use_bias=bias,
        name=f'norm_{place}',
    )


class Prototypes(nn.Module):
    """Cosines of features [B, D] with `count` trained directions, [B, count]."""

    count: int

    @nn.compact
    def __call__(self, features):
        init = nn.initializers.lecun_normal()
        kernel = self.param('kernel', init, (features.shape[-1], self.count))
        return layers.unit(features) @ layers.unit(kernel, 0)


def make(
    widths: tuple,
    activation: str = 'relu',
    norm: str = 'batch',
    last_norm: str = 'none',
    last_bias: bool = True,
    norm_decay: float = 0.9,
    prototypes: int = 0,
    dtype: str | None = None,
) -> nn.Module:
    """A perceptron on features [B, D]: its `logits` are the output [B, widths[-1]], any numbers.

    Its `features` are the input of the last layer. It takes the features of another network, so it
    has no number of classes; the algorithm connects the two.

    widths: of the layers, the last is that of the output.
    activation: after each hidden layer.
    norm: 'batch' or 'none', of the hidden layers, which have a bias only without it.
    last_norm: batch norm of the output: 'none', 'plain' (neither scale nor bias), 'scale' or
      'affine'.
    last_bias: whether the last layer has a bias; without effect if a norm follows.
    norm_decay: of the running statistics of batch norm.
    prototypes: if above 0, the output is its cosines with this many trained directions (DINO, arXiv
        2104.14294, appendix C: l2 norm, then a linear layer with weight norm and its gain fixed at
        1).
    dtype: None computes in the type of features and parameters; 'bfloat16' computes the layers in
        bfloat16, with parameters, batch statistics and outputs in float32.
    """
    layers.check_widths('widths', widths)
    layers.check_choice('activation', activation, layers.ACTIVATIONS)
    layers.check_choice('norm', norm, ('none', 'batch'))
    layers.check_choice('last_norm', last_norm, LAST_NORMS)
    layers.check_rate('norm_decay', norm_decay)
    layers.check_choice('dtype', dtype, (None, 'bfloat16'))
    if prototypes < 0:
        raise ValueError(f'prototypes={prototypes}: give a number of directions, or 0 for none.')
    return Projector(
        tuple(widths), activation, norm, last_norm, last_bias, norm_decay, prototypes, dtype
    )
