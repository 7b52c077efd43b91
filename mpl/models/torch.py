"""Conversion between torch weights and parameters of Linen."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from flax import traverse_util

# The last part of a name: in Linen, in torch.
LEAVES = {
    'kernel': 'weight',
    'scale': 'weight',
    'bias': 'bias',
    'mean': 'running_mean',
    'var': 'running_var',
}
# Axes of torch in the order of Linen: [out, in] -> [in, out], [out, in, h, w] -> [h, w, in, out].
AXES = {1: (0,), 2: (1, 0), 3: (0, 1, 2), 4: (2, 3, 1, 0)}


class Timm(NamedTuple):
    """A network as timm has it: create_model(architecture, **arguments), with these tensors."""

    architecture: str
    arguments: dict  # JSON-serializable; without the number of classes
    tensors: dict[str, np.ndarray]  # the state dict, float32


def read(shapes: dict, tensors: dict[str, np.ndarray], rename: Callable[[tuple], str]) -> dict:
    """Variables shaped like a model's, float32, from the tensors of a torch model.

    The head, the model's last layer, is left out if the file has none; else it keeps the file's
    number of classes.

    Args:
      shapes: {'params': ..., 'batch_stats': ...}, as jax.eval_shape gives them for model.init.
      tensors: by name in the file.
      rename: the path of a leaf within its collection -> the name of the tensor.

    Raises:
      ValueError: a tensor is missing, has another shape, or is not used by the model.
    """
    leaves = traverse_util.flatten_dict(shapes)
    names = {path: rename(path[1:]) for path in leaves}
    head = {path for path in leaves if path[1] == 'head'}
    if not tensors.keys() & {names[path] for path in head}:
        leaves = {path: leaf for path, leaf in leaves.items() if path not in head}
    unused = {name for name in tensors if not name.endswith('.num_batches_tracked')}
    unused -= set(names.values())
    if unused:
        raise ValueError(
            f'The model has no place for {len(unused)} of the tensors ({_some(unused)}): give the '
            'weights of the very same architecture.'
        )
    missing = {names[path] for path in leaves} - tensors.keys()
    if missing:
        raise ValueError(
            f'The model needs {len(missing)} tensors that are not there ({_some(missing)}): give '
            'the weights of the very same architecture.'
        )
    return traverse_util.unflatten_dict(
        {
            path: _fit(tensors[names[path]], leaf.shape, names[path], path in head)
            for path, leaf in leaves.items()
        }
    )


def write(variables: dict, rename: Callable[[tuple], str]) -> dict[str, np.ndarray]:
    """The tensors of a torch model, float32, from a model's variables: the inverse of `read`.

    Args:
      variables: {'params': ..., 'batch_stats': ...}.
      rename: as for `read`.
    """
    tensors = {}
    for path, leaf in traverse_util.flatten_dict(variables).items():
        leaf = np.asarray(leaf, np.float32)
        tensors[rename(path[1:])] = leaf.transpose(np.argsort(AXES[leaf.ndim])).copy()
    return tensors


def _fit(tensor, shape, name, is_head):
    """The tensor with Linen's order of axes."""
    axes = AXES[len(shape)]
    expected = tuple(shape[axes.index(axis)] for axis in range(len(shape)))
    if is_head and tensor.ndim == len(expected):
        expected = tensor.shape[:1] + expected[1:]
    if tensor.shape != expected:
        raise ValueError(f'{name} has the shape {tensor.shape}; the model needs {expected}.')
    return np.asarray(tensor, np.float32).transpose(axes)


def _some(names):
    """A few of many names."""
    return ', '.join(sorted(names)[:3]) + (', ...' if len(names) > 3 else '')
