"""Multi-layer perceptron."""

import flax.linen as nn

from mpl.models import layers


class MLP(nn.Module):
    num_classes: int
    widths: tuple
    activation: str
    norm: str
    dropout: float
    init_range: float | None  # None: the default of Linen

    @nn.compact
    def __call__(self, image, train):
        x = image.reshape(image.shape[0], -1)
        activation = layers.ACTIVATIONS[self.activation]
        kernel_init = (
            {'kernel_init': layers.uniform_init(self.init_range)} if self.init_range else {}
        )
        for width in self.widths:
            x = nn.Dense(width, **kernel_init)(x)
            if self.norm == 'batch':
                x = nn.BatchNorm(use_running_average=not train)(x)
            x = activation(x)
            x = layers.dropout(x, self.dropout, train)
        x = layers.widen(x)
        return x, nn.Dense(self.num_classes, **kernel_init)(x)


def make(
    num_classes: int,
    widths: tuple = (256, 256),
    activation: str = 'relu',
    norm: str = 'none',
    dropout: float = 0.0,
    init: str | float = 'default',
) -> nn.Module:
    """A perceptron over the flattened image; features are the last hidden layer, [B, widths[-1]].

    norm: 'none' or 'batch', between each hidden layer and its activation.
    dropout: rate after each hidden activation.
    init: 'default' draws kernels from a normal of variance 1 / fan-in; a number r from U(-r, r).
        Biases start at zero. The two-moons network of Meta Pseudo Labels (arXiv 2003.10580, section
        3.1) is widths=(8, 8), activation='sigmoid', init=0.1.
    """
    layers.check_classes(num_classes)
    layers.check_widths('widths', widths)
    layers.check_choice('activation', activation, layers.ACTIVATIONS)
    layers.check_choice('norm', norm, ('none', 'batch'))
    layers.check_rate('dropout', dropout)
    if init != 'default' and (isinstance(init, str) or init <= 0):
        raise ValueError(
            f"init={init!r}: give 'default' or a number r above 0 for draws from U(-r, r)."
        )
    return MLP(
        num_classes, tuple(widths), activation, norm, dropout, None if init == 'default' else init
    )
