"""Weight decay of kernels alone."""

import jax
import optax


def add(weight_decay: float) -> optax.GradientTransformation:
    """Adds weight_decay times the kernels to their gradient, and nothing to other parameters.

    Kernels are the parameters named 'kernel', as in the layers of Linen. Biases, scales of norms,
    class tokens and position embeddings of any shape are not decayed, as with timm (one axis, or
    listed in a model's `no_weight_decay`). The released MPL code also decays the biases of dense
    layers; the released FixMatch code decays kernels alone.

    Raises:
      ValueError: (by `init`) there is no kernel, and weight_decay is not 0.
    """
    decayed = optax.add_decayed_weights(weight_decay, mask=kernels)

    def init(params):
        if weight_decay and not any(jax.tree.leaves(kernels(params))):
            raise ValueError(
                f"optimizer: weight_decay is {weight_decay}, but it acts on parameters named 'kernel', "
                'and the network has none; name its weights so, or set weight_decay to 0.'
            )
        return decayed.init(params)

    return optax.GradientTransformationExtraArgs(init, decayed.update)


def kernels(params):
    """True for each parameter named 'kernel', False for the others."""
    return named(params, 'kernel')


def named(params, name: str):
    """True for each parameter of this name (the last part of its path), False for the others."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: jax.tree_util.keystr(path[-1:], simple=True) == name, params
    )
